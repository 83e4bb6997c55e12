"""A batch killed again and again: nothing lost, nothing created twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.batch.api import BatchAPI, item
from tests.runs.batch.kills import altered, run_killed
from tests.support.replies import problem

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("items", "kills"), [(50, 2), pytest.param(240, 15, marks=pytest.mark.slow)]
)
async def test_nothing_is_lost_and_nothing_created_twice(
    tmp_path: Path, items: int, kills: int
) -> None:
    api = BatchAPI(seconds=0.01)

    outcome = await run_killed(api, tmp_path, items=items, kills=kills, every=14, concurrency=16)

    assert outcome.kills == kills
    assert outcome.results == {number: item(number) for number in range(items)}
    assert (outcome.uncertain, outcome.failed) == (set(), [])
    assert api.twice() == []
    assert len(api.made) == items


@pytest.mark.parametrize(
    ("items", "kills"), [(50, 2), pytest.param(240, 15, marks=pytest.mark.slow)]
)
async def test_what_is_prepared_at_random_is_never_created_twice(
    tmp_path: Path, items: int, kills: int
) -> None:
    """A second call of ``prepare`` gives another input, by which no lost create is found."""
    api = BatchAPI(seconds=0.01)
    finished = tmp_path / "finished"

    outcome = await run_killed(
        api, tmp_path, items=items, kills=kills, every=14, concurrency=16, finished=finished
    )

    assert outcome.kills == kills
    assert {index: output["n"] for index, output in outcome.results.items()} == {
        number: number for number in range(items)
    }
    assert (outcome.uncertain, outcome.failed) == (set(), [])
    assert api.twice() == []
    assert len(api.made) == items
    calls = [int(line) for line in finished.read_text().split()]
    assert set(calls) == set(range(items))
    assert len(calls) <= items + 16 * 2 * kills


@pytest.mark.slow
async def test_wrong_clocks_lead_to_no_second_create(tmp_path: Path) -> None:
    api = BatchAPI(seconds=0.01)

    outcome = await run_killed(
        api, tmp_path, items=120, kills=6, every=18, concurrency=16, ahead=1200.0
    )

    assert outcome.kills == 6
    assert outcome.results == {number: item(number) for number in range(120)}
    assert (outcome.uncertain, outcome.failed) == (set(), [])
    assert len(api.made) == 120


@pytest.mark.slow
async def test_a_list_that_shows_inputs_otherwise_leads_to_no_second_create(
    tmp_path: Path,
) -> None:
    api = BatchAPI(seconds=0.01, altered=altered)

    outcome = await run_killed(
        api, tmp_path, items=80, kills=4, every=16, concurrency=8, ahead=1200.0
    )

    assert outcome.kills == 4
    assert api.twice() == []
    assert outcome.failed == []
    assert outcome.results.keys() | outcome.uncertain == set(range(80))
    assert not outcome.results.keys() & outcome.uncertain
    assert all(outcome.results[number] == item(number) for number in outcome.results)
    assert len(outcome.uncertain) <= 8 * 4 + 1


@pytest.mark.slow
async def test_without_the_list_lost_creates_are_uncertain(
    tmp_path: Path,
) -> None:
    api = BatchAPI(seconds=0.01, listing=lambda _: problem(500))

    outcome = await run_killed(api, tmp_path, items=80, kills=3, every=20, concurrency=8)

    assert outcome.kills == 3
    assert api.twice() == []
    assert outcome.failed == []
    assert outcome.results.keys() | outcome.uncertain == set(range(80))
    assert not outcome.results.keys() & outcome.uncertain
    assert all(outcome.results[number] == item(number) for number in outcome.results)
    lost = sum(1 for number in range(1, api.creates + 1) if number % 100 in {50, 66})
    assert len(outcome.uncertain) <= 8 * 3 + lost
