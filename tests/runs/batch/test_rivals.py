"""Lost creates whose inputs a list may show alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runs.batch.api import BatchAPI
from tests.runs.batch.resuming import Input, intents, run

pytestmark = pytest.mark.anyio


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def cut(length: int) -> Callable[[Any], Any]:
    return lambda text: text[:length]


def rounded(places: int) -> Callable[[Any], Any]:
    return lambda number: round(number, places)


CASES: list[tuple[list[Any], Callable[[Any], Any]]] = [
    (["a red fox", "a red fox that runs"], cut(9)),
    (["a red fox", "  a red fox\n"], str.strip),
    ([7, 7.25], rounded(0)),
    ([0.25, 0.2512], rounded(2)),
    (["a", "ab", "abc"], cut(1)),
]


@pytest.mark.parametrize("made", [0, 1])
@pytest.mark.parametrize(("given", "how"), CASES)
async def test_a_match_of_two_lost_creates_is_uncertain_for_both(
    journal: Path, given: list[Any], how: Callable[[Any], Any], made: int
) -> None:
    inputs: list[Input] = [{"value": value} for value in given]
    await intents(journal, inputs)
    api = BatchAPI(altered=lambda shown: {"value": how(shown["value"])})
    api.make(inputs[made])

    results = await run(api, inputs, journal)

    assert [result.uncertain for result in results] == [True] * len(given)
    assert api.creates == 0


async def test_matches_of_all_are_taken_though_one_is_the_beginning_of_another(
    journal: Path,
) -> None:
    inputs: list[Input] = [{"prompt": f"item {number}"} for number in range(30)]
    await intents(journal, inputs)
    api = BatchAPI()
    for given in reversed(inputs):
        api.make(given)

    results = await run(api, inputs, journal)

    assert [result.output for result in results] == inputs
    assert api.creates == 0


@pytest.mark.parametrize("made", [0, 1])
async def test_a_lost_create_that_is_taken_up_later_is_a_rival_too(
    journal: Path, made: int
) -> None:
    inputs: list[Input] = [{"value": "a red fox"}, {"value": "a red fox that runs"}]
    await intents(journal, inputs)
    api = BatchAPI(altered=lambda shown: {"value": shown["value"][:9]})
    api.make(inputs[made])

    for _ in range(2):
        results = await run(api, inputs, journal, concurrency=1)
        assert [result.uncertain for result in results] == [True, True]

    assert api.creates == 0


async def test_a_lost_create_whose_input_is_not_given_again_is_a_rival_too(journal: Path) -> None:
    inputs: list[Input] = [{"value": "a red fox"}, {"value": "a red fox that runs"}]
    await intents(journal, inputs)
    api = BatchAPI(altered=lambda shown: {"value": shown["value"][:9]})
    api.make(inputs[1])

    (first,) = await run(api, inputs[:1], journal)
    results = await run(api, inputs, journal)

    assert [result.uncertain for result in (first, *results)] == [True, True, True]
    assert api.creates == 0


async def test_lost_creates_far_apart_are_all_found_one_at_a_time(journal: Path) -> None:
    inputs: list[Input] = [{"prompt": f"item {number}"} for number in range(300)]
    lost = [inputs[number] for number in (1, 2, 10, 100, 290)]
    await intents(journal, lost)
    api = BatchAPI()
    for given in lost:
        api.make(given)

    results = await run(api, inputs, journal, concurrency=1)

    assert [result.output for result in results] == inputs
    assert api.creates == len(inputs) - len(lost)


async def test_the_shorter_of_two_is_found_if_the_list_shows_longer_texts_whole(
    journal: Path,
) -> None:
    inputs: list[Input] = [{"value": value} for value in ("item 17", "item 1", "item 10")]
    api = BatchAPI()
    await run(api, inputs[:1], journal)
    await intents(journal, inputs[1:])
    found = api.make(inputs[1])

    results = await run(api, inputs, journal)

    assert [result.output for result in results] == inputs
    assert results[1].prediction is not None
    assert results[1].prediction.id == found.id
    assert api.creates == 2
