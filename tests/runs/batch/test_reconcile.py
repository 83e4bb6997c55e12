"""Creates whose outcome is unknown are looked for in the list, and never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

import pytest

from replicate_async import AmbiguousCreateError, BatchResult, Retry
from replicate_async.runs.batch.journal import State
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, client_of
from tests.runs.batch.resuming import Input, intents, run, states
from tests.support.replies import json_answer, page, problem
from tests.support.wire import Answer, Ending

pytestmark = pytest.mark.anyio


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


async def test_intents_are_matched_by_count(journal: Path) -> None:
    """Three were intended, two of the same input happened: one of them is created again."""
    given: list[Input] = [{"n": 7}, {"n": 7}, {"n": 7}, {"n": 8}]
    await intents(journal, given)
    api = BatchAPI()
    api.make({"n": 7})
    api.make({"n": 9})
    api.make({"n": 7})

    results = await run(api, given, journal)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert [made.input["n"] for made in api.made].count(7) == 3
    assert [made.input["n"] for made in api.made].count(8) == 1
    used = [result.prediction.id for result in results if result.prediction]
    assert len(set(used)) == 4


async def test_numbers_are_the_same_however_they_are_written(journal: Path) -> None:
    given: list[Input] = [{"scale": 1.0, "deep": {"list": [2, 3.5, True, None]}}]
    await intents(journal, given)
    api = BatchAPI()
    api.make({"deep": {"list": [2.0, 3.5, True, None]}, "scale": 1})

    results = await run(api, given, journal)

    assert results[0].ok
    assert api.creates == 0


@pytest.mark.parametrize(
    ("shown", "how"),
    [
        ({"input": {}, "data_removed": True}, "removed after an hour"),
        ({"input": {"n": 1, "seed": 0}}, "with a default added"),
        ({"input": {"n": "[REDACTED]"}}, "with a secret hidden"),
        ({"model": "acme/alias"}, "by another name of the model"),
    ],
)
async def test_what_cannot_be_told_apart_is_uncertain(
    journal: Path, shown: dict[str, Any], how: str
) -> None:
    assert how
    await intents(journal, [{"n": 1}])
    api = BatchAPI()
    found = api.make({"n": 1})
    found.shown = shown

    (result,) = await run(api, [{"n": 1}], journal)

    assert result.uncertain
    assert f"it may be {found.id}" in str(result.error)
    assert isinstance(result.error, AmbiguousCreateError)
    assert result.error.sent_at is not None
    assert api.creates == 0
    assert await states(journal) == {State.UNCERTAIN: 1}


async def test_other_runs_of_the_account_are_not_taken_for_ours(journal: Path) -> None:
    await intents(journal, [{"n": 1}])
    api = BatchAPI()
    api.make({"n": 1}).shown = {"model": "acme/other", "version": "5" * 64}
    api.make({"n": 1}).shown = {"deployment": "acme/deployed"}
    api.make({"n": 1}).created_at = time() - 3600

    (result,) = await run(api, [{"n": 1}], journal)

    assert result.ok
    assert api.creates == 1


@pytest.mark.parametrize(
    ("dated", "ahead"), [(True, 0.0), (True, 1200.0), (True, -1200.0), (False, 0.0)]
)
async def test_the_list_is_asked_for_a_range_with_both_ends(
    journal: Path, dated: bool, ahead: float
) -> None:
    api = BatchAPI(dated=dated, clock_offset=ahead, lose=lambda number: number == 1)
    async with api.server() as server:
        async with client_of(server.url) as client:
            batch = client.batch(
                MODEL, [{"n": 1}], journal=journal, poll=QUICK, batch_timeouts=SOON
            )
            (result,) = [result async for result in batch]
        asked = [each.target for each in server.requests if "/predictions?" in each.target]

    assert result.ok
    assert api.creates == 1
    assert asked
    assert all("created_after=" in target and "created_before=" in target for target in asked)


async def test_inputs_that_the_list_lacks_are_fetched(journal: Path) -> None:
    await intents(journal, [{"n": 1}])
    api = BatchAPI()
    api.make({"n": 1})

    def without_inputs(answer: Answer) -> Answer:
        return replace(answer, body=answer.body.replace(b'"input": {"n": 1}', b'"input": null'))

    api.listing = without_inputs
    (result,) = await run(api, [{"n": 1}], journal)

    assert result.ok
    assert api.creates == 0


async def test_a_file_that_is_shown_as_another_url_is_uncertain(
    journal: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"not really")
    given: list[Input] = [{"prompt": "a", "image": picture}, {"prompt": "b", "image": picture}]
    await intents(journal, given, sent=[{**each, "image": picture.read_bytes()} for each in given])
    api = BatchAPI()
    api.make({"prompt": "b", "image": "https://example.com/uploaded"})

    results = await run(api, given, journal)

    assert [result.uncertain for result in results] == [False, True]
    assert api.creates == 1


async def test_two_files_that_look_alike_are_not_guessed_between(
    journal: Path, tmp_path: Path
) -> None:
    given: list[Input] = []
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        given.append({"image": tmp_path / name})
    await intents(journal, given, sent=[{"image": b"a"}, {"image": b"b"}])
    api = BatchAPI()
    api.make({"image": "https://example.com/uploaded"})

    results = await run(api, given, journal)

    assert [result.uncertain for result in results] == [True, True]
    assert api.creates == 0


async def test_a_list_that_lacks_what_was_created_proves_nothing(journal: Path) -> None:
    given: list[Input] = [{"n": number} for number in range(6)]
    api = BatchAPI(lose=lambda number: number == 6)
    api.listing = lambda _: json_answer(page())
    async with api.server() as server, client_of(server.url) as client:
        first = [
            result
            async for result in client.batch(
                MODEL, given[:5], journal=journal, poll=QUICK, batch_timeouts=SOON
            )
        ]
        assert all(result.ok for result in first)
        results = [
            result
            async for result in client.batch(
                MODEL, given, journal=journal, poll=QUICK, batch_timeouts=SOON
            )
        ]

    (lost,) = [result for result in results if not result.ok]
    assert lost.uncertain
    assert "it does not show p0000" in str(lost.error)
    assert not api.twice()


@pytest.mark.parametrize("broken", ["500", "404", "garbage", "reset"])
async def test_an_unreadable_list_leaves_it_undecided_and_a_later_one_decides(
    journal: Path, broken: str
) -> None:
    answers = {
        "500": problem(500),
        "404": problem(404),
        "garbage": Answer(body=b"<html>"),
        "reset": Answer(cut=0, ending=Ending.RESET),
    }
    api = BatchAPI(lose=lambda number: number == 1)
    api.listing = lambda _: answers[broken]

    timeouts = replace(SOON, outage=0.1)
    (lost,) = await run(api, [{"n": 1}], journal, batch_timeouts=timeouts)
    (still,) = await run(api, [{"n": 1}], journal, batch_timeouts=timeouts)
    api.listing = None
    (found,) = await run(api, [{"n": 1}], journal)

    assert "the list of predictions cannot be read" in str(lost.error)
    assert lost.uncertain
    assert still.uncertain
    assert found.ok
    assert found.resumed
    assert api.creates == 1


async def test_a_list_that_failed_long_ago_does_not_hasten_a_later_verdict(journal: Path) -> None:
    timeouts = replace(SOON, settle=0.02, outage=1.0)
    ended = asyncio.Event()
    api = BatchAPI(lose=lambda number: number in {1, 3})
    at_start, broken = None, [problem(404), problem(503)]
    answers = iter([at_start, *broken])
    api.listing = lambda found: next(answers, None) or found

    async def inputs() -> AsyncIterator[Input]:
        for number in (1, 2, 3):
            yield {"n": number}
            await ended.wait()
            ended.clear()
            if number == 2:
                await asyncio.sleep(timeouts.outage)

    async with api.server() as server, client_of(server.url, retry=Retry(attempts=1)) as client:
        batch = client.batch(MODEL, inputs(), journal=journal, poll=QUICK, batch_timeouts=timeouts)
        results: list[BatchResult[Any]] = []
        async for result in batch:
            results.append(result)
            ended.set()

    assert [result.uncertain for result in results] == [True, False, False]
    assert results[2].ok, results[2].error


async def test_an_undecided_create_that_did_not_happen_is_sent_when_that_is_known(
    journal: Path,
) -> None:
    api = BatchAPI(refuse=lambda number: problem(502) if number == 1 else None)
    api.listing = lambda _: problem(404)
    (lost,) = await run(api, [{"n": 1}], journal)
    api.listing = None

    (found,) = await run(api, [{"n": 1}], journal)

    assert lost.uncertain
    assert found.ok
    assert (api.creates, len(api.made)) == (2, 1)


@pytest.mark.parametrize(("shown", "gets"), [({}, 0), ({"logs": None, "output": None}, 1)])
async def test_an_end_that_the_list_shows_whole_is_not_asked_for_again(
    journal: Path, shown: dict[str, Any], gets: int
) -> None:
    await intents(journal, [{"n": 1}])
    api = BatchAPI()
    found = api.make({"n": 1})
    found.shown = shown

    (result,) = await run(api, [{"n": 1}], journal)

    assert result.prediction is not None
    assert result.prediction.id == found.id
    assert api.requests["GET predictions"] - api.requests["list"] == gets


async def test_the_list_is_not_read_for_a_lost_create_whose_input_is_not_given(
    journal: Path,
) -> None:
    await intents(journal, [{"n": 1}])
    api = BatchAPI(seconds=0.5)
    found = api.make({"n": 1})

    (other,) = await run(api, [{"n": 2}], journal)
    listed = api.requests["list"]
    (ours,) = await run(api, [{"n": 1}], journal)

    assert other.ok
    assert listed == 1  # for the API's time
    assert ours.prediction is not None
    assert ours.prediction.id == found.id
    assert api.creates == 1


@pytest.mark.parametrize("event", ["received", "acted"])
async def test_a_create_that_other_code_cancels_is_looked_for(journal: Path, event: str) -> None:
    """Its prediction is found; before the API has acted, there is none and another is created."""
    ours = asyncio.all_tasks()

    def cancel(seen: str, number: int) -> None:
        if (seen, number) == (event, 1):
            for task in asyncio.all_tasks() - ours:
                if "Creator._create" in repr(task.get_coro()):
                    task.cancel()
        if (seen, number, event) == ("received", 1, "received"):
            raise ConnectionResetError

    api = BatchAPI(seen=cancel)

    (result,) = await run(api, [{"n": 1}], journal)

    assert result.ok, result.error
    assert len(api.made) == 1
