"""Resolving uncertain items by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replicate_async import (
    AmbiguousCreateError,
    InvalidArgumentError,
    JournalLockedError,
    Replicate,
)
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from replicate_async.runs.batch.journal.reader import status
from replicate_async.runs.batch.keys import KeyAssigner
from tests.runs.batch.api import MODEL, BatchAPI, client_of
from tests.runs.batch.journals import record
from tests.runs.batch.resuming import intents, run, states
from tests.support.replies import problem

pytestmark = pytest.mark.anyio

GIVEN: list[dict[str, Any]] = [{"n": number} for number in range(3)]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


async def undecided(api: BatchAPI, journal: Path) -> list[str]:
    """Leave two items undecided in the journal, and return their keys."""
    api.lose = lambda number: number in {1, 2}
    api.listing = lambda _: problem(403)
    results = await run(api, GIVEN, journal, concurrency=1)
    api.listing = None
    assert [result.uncertain for result in results] == [True, True, False]
    assert await states(journal) == {State.UNCERTAIN: 2, State.DONE: 1}
    api.listing = lambda _: problem(403)
    return [result.key for result in results]


async def test_a_prediction_that_was_found_is_waited_for(journal: Path) -> None:
    api = BatchAPI()
    first, second, _ = await undecided(api, journal)
    async with api.server() as server, client_of(server.url) as client:
        await client.resolve_batch_item(journal, first, prediction=api.made[0].id)
        await client.resolve_batch_item(
            journal, second, prediction=await client.predictions.get(api.made[1].id)
        )

    results = await run(api, GIVEN, journal)

    assert [result.output for result in results] == GIVEN
    assert api.creates == 3


async def test_what_was_not_created_is_created_by_the_next_run(journal: Path) -> None:
    api = BatchAPI()
    first, second, _ = await undecided(api, journal)
    async with api.server() as server, client_of(server.url) as client:
        await client.resolve_batch_item(journal, second, absent=True)

    results = await run(api, GIVEN, journal)

    assert [result.uncertain for result in results] == [True, False, False]
    assert results[1].output == {"n": 1}
    assert api.creates == 4
    assert status(journal).undecided == [first]


async def test_an_intent_that_a_killed_run_left_can_be_decided_too(journal: Path) -> None:
    api = BatchAPI()
    await intents(journal, GIVEN)
    api.make(GIVEN[0])
    namer = KeyAssigner(MODEL, None, exact=True)
    keys = [(await namer.assign(each))[0].key for each in GIVEN]
    async with api.server() as server, client_of(server.url) as client:
        await client.resolve_batch_item(journal, keys[0], prediction=api.made[0].id)
        await client.resolve_batch_item(journal, keys[1], absent=True)

    assert await states(journal) == {State.CREATED: 1, State.PLANNED: 1, State.INTENT: 1}


async def refused(client: Replicate, journal: Path, key: str, **said: Any) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        await client.resolve_batch_item(journal, key, **said)
    return str(caught.value)


async def test_resolving_a_decided_item_is_refused(journal: Path) -> None:
    api = BatchAPI()
    first, second, done = await undecided(api, journal)
    other = api.make({"n": 0})
    other.shown = {"model": "acme/other"}
    deployed = api.make({"n": 0})
    deployed.shown = {"deployment": "acme/prod"}
    async with api.server() as server, client_of(server.url) as client:
        before = await states(journal)
        cases: list[tuple[str, dict[str, Any], str]] = [
            ("unknown", {"absent": True}, "has no item 'unknown'"),
            (done, {"absent": True}, f"{done!r} is done"),
            (done, {"prediction": api.made[2].id}, f"{done!r} is done"),
            (first, {"prediction": api.made[2].id}, f"belongs to {done!r}"),
            (first, {"prediction": "nope"}, "there is no prediction 'nope'"),
            (first, {"prediction": other.id}, "is one of acme/other"),
            (first, {"prediction": deployed.id}, "is one of acme/prod"),
            (first, {"prediction": ""}, "prediction"),
            (first, {}, "either prediction= or absent=True"),
            (first, {"prediction": "p", "absent": True}, "either prediction= or absent=True"),
        ]
        for key, said, expected in cases:
            assert expected in await refused(client, journal, key, **said)
        no_file = journal.with_name("nothing.db")
        assert "there is no journal at" in await refused(client, no_file, first, absent=True)
        assert await states(journal) == before
        await client.resolve_batch_item(journal, first, prediction=api.made[0].id)
        said_again = await refused(client, journal, second, prediction=api.made[0].id)
        assert f"belongs to {first!r}" in said_again
        assert f"{first!r} is created" in await refused(client, journal, first, absent=True)


async def test_a_prediction_of_an_earlier_attempt_is_refused(journal: Path) -> None:
    api = BatchAPI()
    first, _, done = await undecided(api, journal)
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        await record(opened, done, "reset")
    async with api.server() as server, client_of(server.url) as client:
        assert "earlier attempt" in await refused(client, journal, first, prediction=api.made[2].id)


async def test_a_journal_that_is_in_use_is_refused(journal: Path) -> None:
    api = BatchAPI()
    first, _, _ = await undecided(api, journal)
    async with (
        api.server() as server,
        client_of(server.url) as client,
        await Journal.open(journal, JournalHeader(model=MODEL)),
    ):
        with pytest.raises(JournalLockedError, match="in use by another run"):
            await client.resolve_batch_item(journal, first, absent=True)


async def test_the_error_and_the_status_name_the_command_to_resolve(journal: Path) -> None:
    api = BatchAPI()
    api.lose = lambda number: number == 1
    api.listing = lambda _: problem(403)

    (result,) = await run(api, GIVEN[:1], journal)

    assert isinstance(result.error, AmbiguousCreateError)
    assert "replicate-async batch resolve" in str(result.error)
    assert status(journal).undecided == [result.key]
