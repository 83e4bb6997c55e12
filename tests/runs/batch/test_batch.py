"""Running a model over many inputs: what comes back, in what order, and at what cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from replicate_async import (
    AmbiguousCreateError,
    AuthenticationError,
    BatchProgress,
    BatchResult,
    BatchTimeouts,
    DecodeError,
    InvalidArgumentError,
    NotFoundError,
    Poll,
    PredictionAborted,
    PredictionFailed,
    Replicate,
    Retry,
    UnprocessableEntityError,
    WaitTimeout,
)
from replicate_async.context import context_of
from replicate_async.local import LocalReplicate
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, Made, client_of
from tests.support.ports import free_port
from tests.support.replies import problem
from tests.support.wire import Answer

pytestmark = pytest.mark.anyio

ECHO: Final = "local/echo"
COARSE: Final = Poll(first=0.04, starting=0.04, processing=0.04)  # few steps of the virtual clock


def numbers(count: int) -> list[dict[str, object]]:
    return [{"value": number} for number in range(count)]


def inputs(count: int) -> list[dict[str, object]]:
    return [{"n": number} for number in range(count)]


async def collect(
    api: BatchAPI, count: int, *, retry: Retry | None = None, **options: Any
) -> list[BatchResult[Any]]:
    async with api.server() as server, client_of(server.url, retry=retry) as client:
        options = {"poll": QUICK, "batch_timeouts": SOON, **options}
        batch = client.batch(MODEL, inputs(count), **options)
        return [result async for result in batch]


async def test_every_input_has_its_output(client: Replicate) -> None:
    results = [result async for result in client.batch(ECHO, numbers(30))]

    assert sorted(result.unwrap() for result in results) == list(range(30))
    assert all(result.input == {"value": result.output} for result in results)
    assert all(result.index == result.output and result.ok for result in results)
    assert all(result.attempts == 1 and not result.resumed for result in results)
    assert all(result.created_at and result.finished_at for result in results)
    assert {result.key for result in results} == {str(number) for number in range(30)}


@pytest.mark.virtual_clock
async def test_ordered_results_come_in_the_order_of_the_inputs() -> None:
    def slow_at_first(made: Made) -> None:
        made.ends_at += 0.05 if made.input["n"] % 10 == 0 else 0

    results = await collect(
        BatchAPI(outcome=slow_at_first), 60, ordered=True, concurrency=8, poll=COARSE
    )

    assert [result.index for result in results] == list(range(60))


@pytest.mark.virtual_clock
async def test_results_come_in_the_order_of_completion_by_default() -> None:
    def slow_at_first(made: Made) -> None:
        made.ends_at += 0.1 if made.input["n"] == 0 else 0

    results = await collect(BatchAPI(outcome=slow_at_first), 10, poll=COARSE)

    assert results[-1].index == 0


@pytest.mark.virtual_clock
async def test_concurrency_limits_running_predictions() -> None:
    api = BatchAPI(seconds=0.02)

    def look(_event: str, _number: int) -> None:
        api.peak = max(api.peak, api.running())

    api.seen = look

    await collect(api, 20, concurrency=3, poll=COARSE)

    assert api.peak == 3


async def test_an_async_iterator_is_read_as_it_gives() -> None:
    gate = asyncio.Event()

    async def two() -> AsyncIterator[dict[str, object]]:
        yield {"n": 0}
        await gate.wait()
        yield {"n": 1}

    api = BatchAPI()
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, two(), poll=QUICK)
        first = await anext(batch)
        gate.set()
        rest = [result async for result in batch]

    assert (first.index, [result.index for result in rest]) == (0, [1])
    assert batch.summary.total is None


@pytest.mark.virtual_clock
async def test_reading_ahead_is_bounded_by_the_consumer() -> None:
    given = 0

    def endless() -> Iterator[dict[str, object]]:
        nonlocal given
        while True:
            given += 1
            yield {"n": given}

    api = BatchAPI()
    async with (
        api.server() as server,
        client_of(server.url) as client,
        client.batch(MODEL, endless(), poll=QUICK, concurrency=4) as batch,
    ):
        await anext(batch)
        await asyncio.sleep(0.2)
        held = api.creates
        await asyncio.sleep(0.05)
        assert held == api.creates <= 64 + 2 * 4
        assert given <= 600


async def test_an_item_that_fails_leaves_the_others_alone() -> None:
    def odd_fail(made: Made) -> None:
        if made.input["n"] % 2:
            made.status, made.error = "failed", "it broke"

    results = await collect(BatchAPI(outcome=odd_fail), 10)

    failed = [result for result in results if not result.ok]
    assert {result.index for result in failed} == {1, 3, 5, 7, 9}
    assert all(isinstance(result.error, PredictionFailed) for result in failed)
    assert all(result.prediction and result.output is None for result in failed)
    with pytest.raises(PredictionFailed, match="it broke"):
        failed[0].unwrap()


async def test_an_input_that_the_api_refuses_is_one_error(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/length", official=True)
    def length(text: str) -> int:
        return len(text)

    given = [{"text": "abc"}, {}, {"text": "ab"}, {"text": float("nan")}]
    results = {result.index: result async for result in client.batch("acme/length", given)}

    assert (results[0].unwrap(), results[2].unwrap()) == (3, 2)
    assert isinstance(results[1].error, UnprocessableEntityError)
    assert isinstance(results[3].error, InvalidArgumentError)
    assert results[1].prediction is None


async def test_the_first_error_is_raised_when_asked() -> None:
    def third_fails(made: Made) -> None:
        if made.input["n"] == 3:
            made.status = "failed"

    api = BatchAPI(outcome=third_fails)
    with pytest.raises(PredictionFailed):
        await collect(api, 1000, on_error="raise", concurrency=2)

    assert api.creates < 200


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, AuthenticationError), (404, NotFoundError)],
)
async def test_a_fatal_error_ends_the_batch(status: int, expected: type[Exception]) -> None:
    api = BatchAPI(refuse=lambda number: problem(status) if number == 5 else None)
    if status == 404:  # then the model is looked up, and is unknown too
        api.refuse = lambda _: problem(404)
    with pytest.raises(expected) as caught:
        await collect(api, 1000)

    assert "The batch stopped after" in caught.value.__notes__[0]
    assert api.creates < 100


async def test_an_unreachable_api_ends_the_batch() -> None:
    async with client_of(f"http://127.0.0.1:{free_port()}/v1") as client:
        with pytest.raises(Exception, match="No connection") as caught:
            [result async for result in client.batch(MODEL, inputs(1000))]

    assert "The batch stopped after 0 items" in caught.value.__notes__[0]


async def test_an_input_that_cannot_be_read_does_not_show_that_the_api_works() -> None:
    async with client_of(f"http://127.0.0.1:{free_port()}/v1") as client:
        given = [{"image": Path("there/is/none.png")}, {"n": 1}]
        with pytest.raises(Exception, match="No connection"):
            [result async for result in client.batch(MODEL, given)]


async def test_failures_of_the_service_are_repeated_when_asked() -> None:
    seen: set[int] = set()

    def first_interrupted(made: Made) -> None:
        number = made.input["n"]
        if number not in seen:
            seen.add(number)
            made.status = ("failed", "aborted")[number % 2]
            made.error = "Prediction interrupted; please retry (code: PA)"

    api = BatchAPI(outcome=first_interrupted)
    results = await collect(api, 6, retries=1)
    assert all(result.ok and result.attempts == 2 for result in results)

    seen.clear()
    unrepeated = await collect(BatchAPI(outcome=first_interrupted), 2)
    assert {type(result.error) for result in unrepeated} == {PredictionFailed, PredictionAborted}


async def test_failures_of_the_model_are_not_repeated() -> None:
    def fail(made: Made) -> None:
        made.status, made.error = "failed", "ValueError: no such voice"

    api = BatchAPI(outcome=fail)
    results = await collect(api, 4, retries=5)

    assert api.creates == 4
    assert all(result.attempts == 1 for result in results)


async def test_a_lost_answer_without_a_journal_is_uncertain_and_not_sent_again() -> None:
    api = BatchAPI(lose=lambda number: number == 2)
    results = await collect(api, 5)

    (lost,) = [result for result in results if result.uncertain]
    assert isinstance(lost.error, AmbiguousCreateError)
    assert api.creates == 5
    assert len(results) == 5


async def test_rate_limit_refusals_are_retried() -> None:
    busy = problem(429, retry_after="0.01")
    api = BatchAPI(refuse=lambda number: busy if number % 3 == 0 else None)

    results = await collect(api, 30, retry=Retry(attempts=1))

    assert all(result.ok for result in results)
    assert not api.twice()


async def test_an_outage_fails_no_item() -> None:
    """Six failures in a row hold all creates back but one, which tries alone."""
    out = problem(429, retry_after="0.01")
    api = BatchAPI(refuse=lambda number: out if 5 < number < 12 else None)

    results = await collect(api, 12, retry=Retry(attempts=1), batch_timeouts=SOON)

    assert sum(result.ok for result in results) == 12
    assert api.creates <= 12 + 40


async def test_outputs_are_decoded_as_a_type(client: Replicate) -> None:
    given = [{"value": "a"}, {"value": 3}]
    results = {r.index: r async for r in client.batch(ECHO, given, type=str)}

    assert results[0].unwrap().upper() == "A"
    assert isinstance(results[1].error, DecodeError)
    assert results[1].prediction is not None


async def test_a_wait_that_times_out_is_canceled_and_an_error() -> None:
    api = BatchAPI(seconds=60.0)

    results = await collect(api, 2, timeout=0.05)

    assert all(isinstance(result.error, WaitTimeout) for result in results)
    assert all(made.canceled for made in api.made)


async def test_waits_survive_a_short_outage() -> None:
    api = BatchAPI(seconds=0.01)
    polls = 0

    def out(_: Made) -> Answer | None:
        nonlocal polls
        polls += 1
        return problem(503) if polls < 3 else None

    api.getting = out
    results = await collect(
        api, 1, retry=Retry(attempts=1), batch_timeouts=BatchTimeouts(outage=30.0)
    )

    assert results[0].ok
    assert api.creates == 1


@pytest.mark.virtual_clock
@pytest.mark.parametrize("status", [404, 500])
async def test_a_prediction_that_cannot_be_asked_for_is_an_error_of_its_item(status: int) -> None:
    api = BatchAPI(seconds=0.01)
    api.getting = lambda made: problem(status) if made.input["n"] == 0 and api.creates else None
    timeouts = BatchTimeouts(outage=0.0)

    results = await collect(api, 2, retry=Retry(attempts=1), batch_timeouts=timeouts, timeout=2.0)

    assert [result.ok for result in sorted(results, key=lambda each: each.index)] == [False, True]


async def test_an_outage_ends_a_batch_without_a_journal_too() -> None:
    api = BatchAPI(refuse=lambda _: problem(503))

    with pytest.raises(AmbiguousCreateError):
        await collect(api, 1000, batch_timeouts=BatchTimeouts(outage=0.05))

    assert api.creates <= 40


async def test_progress_is_shown_while_nothing_ends() -> None:
    def look(progress: BatchProgress) -> None:
        if progress.running:
            raise KeyError(progress.done)

    with pytest.raises(KeyError, match="0"):
        await collect(BatchAPI(seconds=60), 1, on_progress=look)


async def test_max_predictions_limits_creates() -> None:
    api = BatchAPI()
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, inputs(100), max_predictions=7, poll=QUICK)
        results = [result async for result in batch]

    assert len(results) == api.creates == 7
    assert batch.summary.stopped == "max_predictions"


async def test_refused_inputs_leave_their_places_to_others() -> None:
    api = BatchAPI(refuse=lambda number: problem(422) if number <= 3 else None)

    results = await collect(api, 100, max_predictions=2)

    assert [result.ok for result in results].count(True) == len(api.made) == 2
    assert len(results) == api.creates == 5


@pytest.mark.virtual_clock
async def test_max_seconds_ends_creating() -> None:
    api = BatchAPI(seconds=0.02)
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, inputs(100_000), max_seconds=0.2, concurrency=4, poll=COARSE)
        results = [result async for result in batch]

    assert 0 < len(results) == api.creates < 5000
    assert all(result.ok for result in results)
    assert batch.summary.stopped == "max_seconds"


async def test_the_last_progress_has_all_items() -> None:
    told: list[BatchProgress] = []

    def one_fails(made: Made) -> None:
        made.status = "failed" if made.input["n"] == 4 else "succeeded"

    await collect(BatchAPI(outcome=one_fails), 20, on_progress=told.append)

    last = told[-1]
    assert (last.total, last.ok, last.failed, last.done, last.running) == (20, 19, 1, 20, 0)
    assert last.created == 20
    assert last.predict_seconds == 10.0
    assert last.rate > 0
    assert last.eta == 0.0


async def test_an_error_of_on_progress_ends_the_batch() -> None:
    def broken(_: BatchProgress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await collect(BatchAPI(), 20, on_progress=broken)


async def test_the_summary_counts_what_it_cost() -> None:
    api = BatchAPI()
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, inputs(10), poll=QUICK)
        before = batch.summary
        [result async for result in batch]
        summary = batch.summary

    assert (before.ok, before.requests, str(batch)) == (0, 0, "<Batch acme/echo over, 10 done>")
    assert (summary.ok, summary.created, summary.retried, summary.stopped) == (10, 10, 0, None)
    assert summary.requests == sum(api.requests[kind] for kind in ("create", "GET predictions"))
    assert summary.predict_seconds == 5.0
    assert summary.throughput > 0
    assert str(summary).startswith("10 ok in ")


async def test_files_are_saved_under_their_keys(
    server: LocalReplicate, client: Replicate, tmp_path: Path
) -> None:
    given = [{"name": f"row {number}", "width": 16, "height": 16} for number in range(3)]
    batch = client.batch("local/mandelbrot", given, key="name", save_files=tmp_path / "out")
    results = [result async for result in batch]

    assert all(result.ok for result in results), [result.error for result in results]
    saved = {path.name for path in (tmp_path / "out").iterdir()}
    assert saved == {path.name for result in results for path in result.files}
    assert all(path.stem.startswith("row ") for result in results for path in result.files)


async def test_a_disk_that_fails_ends_the_batch(client: Replicate, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("no folder")

    with pytest.raises(Exception, match="out"):
        [
            result
            async for result in client.batch(
                "local/mandelbrot", [{"width": 16, "height": 16}] * 5, save_files=tmp_path / "out"
            )
        ]


async def test_the_iteration_starts_the_batch(client: Replicate) -> None:
    batch = client.batch(ECHO, numbers(3))

    assert repr(batch) == "<Batch local/echo not begun>"
    assert context_of(client).requests_sent == 0


async def test_an_empty_batch_is_over_at_once(client: Replicate) -> None:
    assert [result async for result in client.batch(ECHO, [])] == []


async def test_an_error_of_the_inputs_is_raised() -> None:
    def broken() -> Iterator[dict[str, object]]:
        yield {"n": 0}
        raise KeyError("column")

    async with BatchAPI().server() as server, client_of(server.url) as client:
        with pytest.raises(KeyError):
            [result async for result in client.batch(MODEL, broken(), poll=QUICK)]


def wrong(**options: object) -> dict[str, object]:
    return options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (wrong(concurrency=0), "concurrency=0 must be an int"),
        (wrong(retries=-1), "retries=-1 must be an int"),
        (wrong(retries=None), "retries=None must be an int"),
        (wrong(on_error="ignore"), "on_error='ignore' must be one of 'collect', 'raise'"),
        (wrong(on_exit="drain"), "on_exit='drain' must be"),
        (wrong(max_seconds="1h"), "max_seconds='1h' must be a number of seconds"),
        (wrong(max_predictions=1.5), "max_predictions=1.5 must be an int"),
        (wrong(dry_run="no"), "dry_run='no' must be True or False"),
        (wrong(batch_timeouts=3), "batch_timeouts=3 is a int; pass a BatchTimeouts"),
        (wrong(key=3), "key=3 must name a field"),
        (wrong(journal=""), "journal='' is not a path"),
        (wrong(journal="a\0b"), "journal='a\\x00b' is not a path"),
        (wrong(journal="\ud800"), "journal='\\ud800' is not a path"),
        (wrong(save_files=3), "save_files=3 is not a path"),
        (wrong(save_files="\ud800"), "save_files='\\ud800' is not a path"),
        (wrong(save_files="\udcff", journal="a.db"), "save_files='\\udcff' is not a path"),
        (wrong(on_progress=3), "on_progress=3 must be a function"),
        (wrong(cancel_after=1), "cancel_after=1 is not between"),
        (wrong(webhook="ftp://a"), "webhook= begins with ftp:"),
        (wrong(model="acme"), "model='acme' is neither"),
        (wrong(inputs={"value": 1}), "is a dict and not many inputs"),
        (wrong(inputs=3), "inputs=3 is a int and not many inputs"),
    ],
)
async def test_invalid_arguments_are_refused(
    client: Replicate, options: dict[str, Any], says: str
) -> None:
    given: dict[str, Any] = {"model": ECHO, "inputs": [], **options}
    with pytest.raises(InvalidArgumentError) as caught:
        client.batch(**given)

    assert says in str(caught.value)


async def test_an_input_that_is_no_mapping_ends_the_batch_and_is_named(client: Replicate) -> None:
    given: list[Any] = [{"value": 1}, "two"]
    with pytest.raises(InvalidArgumentError, match="input 1 is 'two', a str; each must be"):
        [result async for result in client.batch(ECHO, given)]
