"""Lost creates are looked for by the API's clock: this machine's may be wrong, jump or sleep."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

import pytest

from replicate_async import BatchResult, Prediction, Retry
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from replicate_async.runs.batch.keys import KeyAssigner
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, client_of, http_date
from tests.runs.batch.journals import record
from tests.runs.batch.resuming import Input, intents, run, sent_as, states
from tests.support.replies import problem
from tests.support.wire import Answer

pytestmark = pytest.mark.anyio

HOURS = 3600.0


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def loses_first(number: int) -> bool:
    return number == 1


AHEAD = (90.0, -90.0, -600.0, 1200.0, -1200.0, 400 * 24 * HOURS)


async def created(tmp_path: Path, ahead: float, **faults: Any) -> tuple[bool, int, int]:
    """Return whether an item was run, how often it was asked for, and how often created."""
    api = BatchAPI(clock_offset=ahead, **faults)
    (result,) = await run(api, [{"n": 1}], tmp_path / f"{ahead}.db")
    return result.ok, api.creates, len(api.made)


async def test_a_lost_create_is_found_however_wrong_the_local_clock_is(tmp_path: Path) -> None:
    runs = [created(tmp_path, ahead, lose=loses_first) for ahead in AHEAD]

    assert await asyncio.gather(*runs) == [(True, 1, 1)] * len(AHEAD)


async def test_a_create_that_did_not_happen_is_sent_again_with_a_wrong_clock(
    tmp_path: Path,
) -> None:
    def refuse(number: int) -> Answer | None:
        return problem(503) if number == 1 else None

    runs = [created(tmp_path, ahead, refuse=refuse) for ahead in AHEAD]

    assert await asyncio.gather(*runs) == [(True, 2, 1)] * len(AHEAD)


async def intent_at(journal: Path, given: Input, *, local: float, start: float | None) -> None:
    """Leave the intent of a process that was killed, with the times that it wrote down."""
    named, _ = await KeyAssigner(MODEL, None, exact=True).assign(given)
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        await opened.plan([(0, named.key, named.digest)])
        await record(opened, named.key, "intent", local, start, sent_as(given))


@pytest.mark.parametrize("moved", [2 * HOURS, -2 * HOURS])
async def test_a_resume_goes_by_the_apis_time_though_the_local_clock_was_set(
    journal: Path, moved: float
) -> None:
    api = BatchAPI()
    await intent_at(journal, {"n": 1}, local=time() + moved, start=api.now() - 5)
    api.make({"n": 1})

    (result,) = await run(api, [{"n": 1}], journal)

    assert result.ok, result.error
    assert api.creates == 0


async def test_an_intent_without_the_apis_time_is_never_taken_for_absent(journal: Path) -> None:
    api = BatchAPI()
    await intent_at(journal, {"n": 1}, local=time() + HOURS, start=None)
    api.make({"n": 1})

    (result,) = await run(api, [{"n": 1}], journal)

    assert result.uncertain
    assert "the API's time was not known when it was sent" in str(result.error)
    assert api.creates == 0


@pytest.mark.parametrize("hours", [1, 100])
@pytest.mark.parametrize("before", ["the request arrives", "its answer is lost"])
async def test_a_machine_that_slept_around_the_request_finds_what_it_made(
    journal: Path, before: str, hours: int
) -> None:
    """For hours, of which none of its clocks knows."""
    api = BatchAPI(lose=loses_first)

    def sleeps(event: str, number: int) -> None:
        if (event == "received") is (before == "the request arrives") and number == 1:
            api.clock_offset += hours * HOURS

    api.seen = sleeps
    (result,) = await run(api, [{"n": 1}], journal)

    assert result.ok, result.error
    assert api.creates == 1


async def lost(api: BatchAPI, journal: Path, **options: Any) -> BatchResult[Prediction]:
    """Return the result of the one item, whose first create is lost and never shown."""
    api.lose = loses_first
    (result,) = await run(api, [{"n": 1}], journal, **options)
    assert api.creates == 1
    return result


async def test_a_list_without_a_date_proves_nothing(journal: Path) -> None:
    api = BatchAPI()
    hidden = Answer(body=b'{"results": []}', headers=(("Date", "at noon"),))
    api.listing = lambda _: hidden

    result = await lost(api, journal)

    assert result.uncertain
    assert await states(journal) == {State.UNCERTAIN: 1}


async def test_an_api_without_dates_leaves_it_undecided(journal: Path) -> None:
    api = BatchAPI(dated=False, listing=lambda _: Answer(body=b'{"results": []}'))

    assert (await lost(api, journal)).uncertain


async def test_what_is_in_the_list_is_found_without_dates(journal: Path) -> None:
    assert (await lost(BatchAPI(dated=False), journal)).ok


@pytest.mark.parametrize("age", ["0", "31536000"])
async def test_a_list_that_a_cache_kept_proves_nothing(journal: Path, age: str) -> None:
    api = BatchAPI()

    def cached(_: Answer) -> Answer:
        headers = (("Date", http_date(api.now())), ("Age", age))
        return Answer(body=b'{"results": []}', headers=headers)

    api.listing = cached

    assert (await lost(api, journal)).uncertain


@pytest.mark.parametrize("minutes", [pytest.param(0, marks=pytest.mark.slow), 30])
async def test_a_list_that_a_cache_kept_without_its_age_proves_nothing(
    journal: Path, minutes: int
) -> None:
    """It has the date of the first one, or one long before, and lacks what was made since."""
    api = BatchAPI()
    written = http_date(api.now() - minutes * 60)
    api.listing = lambda _: Answer(body=b'{"results": []}', headers=(("Date", written),))

    result = await lost(api, journal, batch_timeouts=replace(SOON, settle=2.0))

    assert result.uncertain
    assert "list of predictions is an old one" in str(result.error)


async def test_an_undecided_create_is_decided_by_a_later_list_without_another_wait(
    journal: Path,
) -> None:
    """A list of after it was lost had a suspect; what that list does not show does not come."""
    api = BatchAPI()
    await intents(journal, [{"n": 1}])
    suspect = api.make({"n": 1})
    suspect.shown = {"input": {"n": "[REDACTED]"}}
    (undecided,) = await run(api, [{"n": 1}], journal)
    suspect.shown = {"input": {"n": 2}}
    api.make({"n": 1}).created_at = api.now() + 2 * SOON.margin + 10

    (decided,) = await run(api, [{"n": 1}], journal, batch_timeouts=replace(SOON, settle=600.0))

    assert undecided.uncertain
    assert decided.ok
    assert api.creates == 1


async def test_the_clock_is_asked_for_once_before_the_first_intent(journal: Path) -> None:
    api = BatchAPI()
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, [{"n": n} for n in range(5)], journal=journal, poll=QUICK)
        assert all([result.ok async for result in batch])
        assert api.requests["list"] == 1

    await run(api, [{"n": n} for n in range(5)], journal)
    assert api.requests["list"] == 1


async def test_a_list_that_fails_at_the_start_does_not_keep_a_batch_from_running(
    journal: Path,
) -> None:
    api = BatchAPI(listing=lambda _: problem(500))
    async with (
        api.server() as server,
        client_of(server.url, retry=Retry(attempts=1)) as client,
    ):
        batch = client.batch(MODEL, [{"n": n} for n in range(5)], journal=journal, poll=QUICK)
        assert all([result.ok async for result in batch])
    assert api.requests["list"] == 1
