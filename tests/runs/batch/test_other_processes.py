"""Lost creates beside other processes, which create equal inputs and have journals of their own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from replicate_async import BatchResult
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from tests.runs.batch.api import MODEL, BatchAPI, client_of
from tests.runs.batch.resuming import Input, intents, run, states
from tests.support.replies import json_answer

pytestmark = pytest.mark.anyio

GIVEN: list[Input] = [{"n": 1}]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


async def predictions(journal: Path) -> list[str | None]:
    """Return the predictions that the journal has, in the order of its inputs."""
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        return [entry.prediction_id async for entry in opened.entries()]


def ids(results: list[BatchResult[Any]]) -> set[str]:
    return {result.prediction.id for result in results if result.prediction is not None}


async def test_two_processes_that_lose_equal_creates_take_neither_for_their_own(
    tmp_path: Path,
) -> None:
    api = BatchAPI(lose=lambda _: True)
    # Neither sees the list before both are in it.
    api.listing = lambda answer: answer if len(api.made) == 2 else json_answer({}, 503)
    journals = [tmp_path / "one.db", tmp_path / "other.db"]

    runs = await asyncio.gather(*(run(api, GIVEN, each) for each in journals))

    assert [result.uncertain for results in runs for result in results] == [True, True]
    assert all(made.id in str(results[0].error) for results in runs for made in api.made)
    assert [await predictions(each) for each in journals] == [[None], [None]]
    for each in journals:  # and the next runs do not create them again
        (result,) = await run(api, GIVEN, each)
        assert result.uncertain
    assert api.creates == 2


async def test_a_run_of_another_process_is_not_taken_for_a_lost_create(journal: Path) -> None:
    """The other one was made first, and would be the first match."""
    api = BatchAPI()
    (theirs,) = await run(api, GIVEN, journal.with_name("other.db"))
    api.lose = lambda number: number == 2

    (ours,) = await run(api, GIVEN, journal)

    assert theirs.ok
    assert ours.uncertain
    assert await states(journal) == {State.UNCERTAIN: 1}
    assert api.creates == 2


async def test_the_one_that_was_found_by_hand_is_taken(journal: Path) -> None:
    api = BatchAPI()
    await run(api, GIVEN, journal.with_name("other.db"))
    api.lose = lambda number: number == 2
    (lost,) = await run(api, GIVEN, journal)
    async with api.server() as server, client_of(server.url) as client:
        await client.resolve_batch_item(journal, lost.key, prediction=api.made[1].id)

    results = await run(api, GIVEN, journal)

    assert ids(results) == {api.made[1].id}
    assert api.creates == 2


async def test_as_many_equal_predictions_as_were_lost_are_found(journal: Path) -> None:
    given: list[Input] = [{"n": 1}] * 3
    api = BatchAPI(lose=lambda number: number != 2)

    results = await run(api, given, journal)

    assert all(result.ok for result in results)
    assert len(ids(results)) == api.creates == 3


async def test_one_more_than_was_lost_leaves_all_of_them_uncertain(journal: Path) -> None:
    given: list[Input] = [{"n": 1}, {"n": 1}, {"n": 2}]
    await intents(journal, given)
    api = BatchAPI()
    for each in (*given, {"n": 1}):
        api.make(each)

    results = await run(api, given, journal)

    assert [result.uncertain for result in results] == [True, True, False]
    assert await states(journal) == {State.UNCERTAIN: 2, State.DONE: 1}
    assert api.creates == 0


async def test_an_equal_run_of_long_ago_is_no_rival(journal: Path) -> None:
    api = BatchAPI()
    old = api.make({"n": 1})
    old.created_at -= 3600
    api.lose = lambda number: number == 1

    (result,) = await run(api, GIVEN, journal)

    assert ids([result]) == {api.made[1].id}
    assert api.creates == 1
