"""Resuming from a journal: items replayed, awaited, looked for, or uncertain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import time

import pytest

from replicate_async import (
    InvalidArgumentError,
    JournalLockedError,
    JournalMismatchError,
    NotFoundError,
    OutputRemovedError,
    Poll,
    PredictionFailed,
    Replicate,
    ServerError,
    UnprocessableEntityError,
)
from replicate_async.context import context_of
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from replicate_async.runs.batch.keys import KeyAssigner
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, Made, client_of
from tests.runs.batch.journals import record
from tests.runs.batch.resuming import Input, run, sent_as, states
from tests.support.embedded import until
from tests.support.replies import problem
from tests.support.wire import Answer

pytestmark = pytest.mark.anyio


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


async def test_what_is_done_is_replayed_without_a_request(journal: Path) -> None:
    def odd_fail(made: Made) -> None:
        if made.input["n"] == 1:
            made.status, made.error = "failed", "it broke"

    api = BatchAPI(outcome=odd_fail)
    api.refuse = lambda number: problem(422, "no such n") if number == 3 else None
    given: list[Input] = [{"n": number} for number in range(3)]
    first = await run(api, given, journal, concurrency=1)
    before = dict(api.requests)

    again = await run(api, given, journal)

    assert dict(api.requests) == before
    assert [result.output for result in again] == [{"n": 0}, None, None]
    assert [type(result.error) for result in again] == [type(result.error) for result in first]
    assert isinstance(again[1].error, PredictionFailed)
    assert isinstance(again[2].error, UnprocessableEntityError)
    assert str(again[2].error) == str(first[2].error)
    assert all(result.resumed for result in again)
    assert not any(result.resumed for result in first)
    assert [result.key for result in first] == [result.key for result in again]
    assert first[0].prediction is not None
    assert again[0].prediction is not None
    assert again[0].prediction.metrics == first[0].prediction.metrics


async def test_more_inputs_run_only_what_is_new(journal: Path) -> None:
    api = BatchAPI()
    await run(api, [{"n": 1}, {"n": 2}], journal)

    results = await run(api, [{"n": 0}, {"n": 2}, {"n": 1}], journal)

    assert [result.resumed for result in results] == [False, True, True]
    assert api.creates == 3


async def test_equal_inputs_both_run_and_are_told_apart(journal: Path) -> None:
    api = BatchAPI()
    given: list[Input] = [{"n": 1}] * 3

    first = await run(api, given, journal)
    again = await run(api, given, journal)

    assert len({result.key for result in first}) == api.creates == 3
    assert [result.key for result in first] == [result.key for result in again]


async def test_a_lost_answer_is_found_in_the_list(journal: Path) -> None:
    api = BatchAPI(lose=lambda number: number in {2, 5})
    given: list[Input] = [{"n": number} for number in range(8)]

    results = await run(api, given, journal)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert [result.output for result in results] == given
    assert len(api.made) == api.creates == 8


async def test_a_create_that_did_not_happen_is_sent_once_the_list_has_settled(
    journal: Path,
) -> None:
    api = BatchAPI(refuse=lambda number: problem(503) if number == 2 else None)
    given: list[Input] = [{"n": number} for number in range(4)]

    results = await run(api, given, journal)

    assert all(result.ok for result in results)
    assert (api.creates, len(api.made)) == (5, 4)


async def test_an_input_that_breaks_the_api_is_given_up(journal: Path) -> None:
    api = BatchAPI()

    def poisoned(_: int) -> Answer | None:
        return problem(500) if api.last == {"n": 2} else None

    api.refuse = poisoned
    timeouts = replace(SOON, settle=0.05, outage=30.0)
    results = await run(
        api, [{"n": number} for number in range(4)], journal, batch_timeouts=timeouts
    )

    assert [result.ok for result in results] == [True, True, False, True]
    assert not results[2].uncertain
    assert "could not be created: 5 creates broke off" in str(results[2].error)
    assert await states(journal) == {State.DONE: 3, State.PLANNED: 1}


async def test_an_api_that_breaks_on_every_create_ends_the_batch(journal: Path) -> None:
    api = BatchAPI(refuse=lambda _: problem(503))
    timeouts = replace(SOON, settle=0.05, outage=0.1)

    with pytest.raises(ServerError):
        await run(api, [{"n": number} for number in range(100)], journal, batch_timeouts=timeouts)

    assert api.creates < 50
    assert set(await states(journal)) <= {State.PLANNED, State.INTENT}
    api.refuse = None
    results = await run(api, [{"n": number} for number in range(100)], journal)
    assert all(result.ok for result in results), [str(each.error) for each in results]
    assert len(api.made) == 100


async def test_a_create_that_did_not_happen_is_none_of_the_most_predictions(journal: Path) -> None:
    api = BatchAPI(refuse=lambda number: problem(503) if number == 1 else None)
    given: list[Input] = [{"n": 0}, {"n": 1}]

    results = await run(api, given, journal, max_predictions=2, concurrency=1)

    assert [(result.ok, result.attempts) for result in results] == [(True, 1), (True, 1)]
    assert (api.creates, len(api.made)) == (3, 2)


async def test_what_failed_is_run_once_more_when_asked(journal: Path) -> None:
    def fail(made: Made) -> None:
        made.status = "failed" if made.input["n"] else "succeeded"

    api = BatchAPI(outcome=fail)
    given: list[Input] = [{"n": 0}, {"n": 1}]
    await run(api, given, journal)
    api.outcome = None

    kept = await run(api, given, journal)
    results = await run(api, given, journal, retry_failed=True)

    assert [result.ok for result in kept] == [True, False]
    assert [result.ok for result in results] == [True, True]
    assert api.creates == 3


async def test_a_version_is_told_from_other_versions(journal: Path) -> None:
    version = "5" * 64
    ref = f"{MODEL}:{version}"
    given: list[Input] = [{"n": 1}, {"n": 2}, {"n": 3}]
    namer = KeyAssigner(ref, None, exact=True)
    named = [(await namer.assign(each))[0] for each in given]
    async with await Journal.open(journal, JournalHeader(model=ref, version=version)) as opened:
        await opened.plan([(each.index, each.key, each.digest) for each in named])
        for each, values in zip(named, given, strict=True):
            await record(opened, each.key, "intent", time(), time(), sent_as(values))
    api = BatchAPI()
    mine, other, hidden = (api.make({"n": number}) for number in (1, 2, 3))
    mine.shown, other.shown = {"version": version}, {"version": "6" * 64}
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(
            ref, given, journal=journal, poll=QUICK, batch_timeouts=SOON, ordered=True
        )
        results = [result async for result in batch]

    assert [result.uncertain for result in results] == [False, False, True]
    assert results[0].prediction is not None
    assert results[0].prediction.id == mine.id
    assert hidden.id in str(results[2].error)
    assert api.creates == 1


async def test_a_prediction_that_ends_before_its_cancel_is_done(journal: Path) -> None:
    api = BatchAPI(seconds=0.02)
    async with (
        api.server() as server,
        client_of(server.url) as client,
        client.batch(
            MODEL, [{"n": 1}], journal=journal, poll=Poll(first=30, starting=30, processing=30)
        ) as batch,
    ):
        await until(lambda: batch.progress.created == 1 and not api.running())

    assert await states(journal) == {State.DONE: 1}


async def test_files_that_cannot_be_had_are_tried_again_by_a_resume(
    journal: Path, tmp_path: Path
) -> None:
    def picture(made: Made) -> None:
        made.output = "data:image/png;base64,!!!"

    api = BatchAPI(outcome=picture)
    results = await run(api, [{"n": 1}], journal, save_files=tmp_path / "files")

    assert not results[0].ok
    assert results[0].output is None
    assert results[0].prediction is not None
    assert await states(journal) == {State.CREATED: 1}


async def test_the_first_prediction_of_a_retry_is_not_taken_for_the_second(journal: Path) -> None:
    """The first attempt is in the list with the same input; a kill then hits the second."""

    def aborted(made: Made) -> None:
        made.status = "aborted"

    api = BatchAPI(outcome=aborted)
    await run(api, [{"n": 1}], journal, retries=1)
    key = (await KeyAssigner(MODEL, None, exact=True).assign({"n": 1}))[0].key
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        await record(opened, key, "reset")
        await record(opened, key, "intent", time() - 1, time() - 1, sent_as({"n": 1}))
    api.outcome = None

    (result,) = await run(api, [{"n": 1}], journal)

    assert result.ok
    assert api.creates == 3
    assert result.prediction is not None
    assert result.prediction.id == api.made[-1].id


async def test_output_that_is_gone_is_an_error_and_not_run_again(journal: Path) -> None:
    api = BatchAPI(seconds=60.0)
    async with (
        api.server() as server,
        client_of(server.url) as client,
        client.batch(MODEL, [{"n": 1}], journal=journal, on_exit="continue", poll=QUICK),
    ):
        await until(lambda: bool(api.made))
    api.made[0].ends_at = 0.0
    api.made[0].shown = {"output": None, "data_removed": True, "input": {}}

    first, again = [await run(api, [{"n": 1}], journal) for _ in range(2)]

    assert isinstance(first[0].error, OutputRemovedError)
    assert isinstance(again[0].error, OutputRemovedError)
    assert api.creates == 1


async def test_a_second_runner_is_refused(journal: Path) -> None:
    api = BatchAPI(seconds=60.0)
    async with (
        api.server() as server,
        client_of(server.url) as client,
        client.batch(MODEL, [{"n": 1}], journal=journal, poll=QUICK) as batch,
    ):
        await until(lambda: bool(api.made))
        with pytest.raises(JournalLockedError):
            await anext(client.batch(MODEL, [{"n": 1}], journal=journal))
        assert batch.progress.running == 1


async def test_a_journal_of_another_batch_is_refused(journal: Path) -> None:
    api = BatchAPI()
    await run(api, [{"n": 1}], journal, key="n")

    with pytest.raises(JournalMismatchError, match="its model is 'acme/echo', not 'acme/other'"):
        async with api.server() as server, client_of(server.url) as client:
            await anext(client.batch("acme/other", [{"n": 1}], journal=journal))
    with pytest.raises(JournalMismatchError, match="knows '1' with another input"):
        await run(api, [{"n": 1, "more": 2}], journal, key="n")
    with pytest.raises(JournalMismatchError, match="options"):
        await run(api, [{"n": 1}], journal, cancel_after=60)


async def test_two_inputs_of_one_key_are_refused(journal: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="input 1 has the key '1', which another has"):
        await run(BatchAPI(), [{"n": 1}, {"n": 1}], journal, key="n")
    with pytest.raises(InvalidArgumentError, match="input 0 has no value in the field 'id'"):
        await run(BatchAPI(), [{"n": 1}], journal, key="id")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_dry_run_says_what_would_be_done(
    client: Replicate, journal: Path, tmp_path: Path
) -> None:
    given: list[Input] = [{"text": "a"}, {"text": "b"}]
    batch = client.batch("replicate/hello-world", given, journal=journal, dry_run=True)
    assert [result.ok async for result in batch] == [True, True]
    assert names(tmp_path) == []
    assert (batch.summary.planned, batch.summary.created, batch.summary.done) == (2, 0, 0)

    [result async for result in client.batch("replicate/hello-world", given, journal=journal)]
    more: list[Input] = [*given, {"text": 3}, {}, {"text": "c"}]
    batch = client.batch("replicate/hello-world", more, journal=journal, dry_run=True)
    results = {result.index: result async for result in batch}

    summary = batch.summary
    assert (summary.planned, summary.resumed, summary.failed) == (1, 2, 2)
    assert "input 2" in str(results[2].error)
    assert str(results[2].error).endswith("text=3 is an int; it takes a string.")
    assert str(results[3].error).endswith("text is required: a string.")
    assert context_of(client).requests_sent < 20


@pytest.mark.parametrize("ref", ["{model}:{version}", "{version}"])
async def test_a_dry_run_of_a_version_asks_for_its_schema(client: Replicate, ref: str) -> None:
    model = await client.models.get("replicate/hello-world")
    assert model.latest_version is not None
    named = ref.format(model="replicate/hello-world", version=model.latest_version.id)

    batch = client.batch(named, [{}, {"text": "a"}], dry_run=True)
    results = [result.ok async for result in batch]

    assert sorted(results) == ([False, True] if ":" in named else [True, True])
    with pytest.raises(NotFoundError):
        await anext(client.batch("acme/nothing", [{}], dry_run=True))
    unknown = client.batch(f"acme/nothing:{'0' * 64}", [{}], dry_run=True)
    assert (await anext(unknown)).ok
