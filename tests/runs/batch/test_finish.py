"""``finish``: called with each success until it has returned once; its value is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from replicate_async import (
    BatchResult,
    FinishError,
    InvalidArgumentError,
    OutputExpiredError,
    OutputRemovedError,
    PaymentRequiredError,
)
from replicate_async.runs.batch.journal import State
from replicate_async.runs.batch.journal.reader import status
from tests.runs.batch.api import MODEL, QUICK, BatchAPI, Made, client_of
from tests.runs.batch.collecting import results_and_error
from tests.runs.batch.resuming import Input, run, states
from tests.support.embedded import until
from tests.support.replies import problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def inputs(count: int) -> list[Input]:
    return [{"n": number} for number in range(count)]


class Finishing:
    """A function that counts its calls, and fails for some inputs."""

    def __init__(self, *fails: int, error: BaseException | None = None) -> None:
        self.calls: Counter[int] = Counter()
        self.fails = set(fails)
        self.error = error or ValueError("no room on the shelf")

    async def __call__(self, result: BatchResult[Any]) -> object:
        self.calls[result.index] += 1
        await asyncio.sleep(0)
        if result.index in self.fails:
            raise self.error
        return {"of": result.index}


async def test_what_it_returns_is_the_value_of_the_result(journal: Path) -> None:
    def odd_fail(made: Made) -> None:
        made.status = "failed" if made.input["n"] % 2 else "succeeded"

    api, finish = BatchAPI(outcome=odd_fail), Finishing()

    results = await run(api, inputs(4), journal, finish=finish)

    assert [result.value for result in results] == [{"of": 0}, None, {"of": 2}, None]
    assert [result.ok for result in results] == [True, False, True, False]
    assert finish.calls == Counter([0, 2])
    assert await states(journal) == {State.DONE: 2, State.FINISHED: 2}
    assert status(journal).succeeded == 2


async def test_a_resume_calls_it_where_it_has_not_returned(journal: Path) -> None:
    api, finish = BatchAPI(), Finishing(1, 2)
    first = await run(api, inputs(4), journal, finish=finish)
    before = api.creates
    finish.fails = {2}

    again = await run(api, inputs(4), journal, finish=finish)

    assert [result.ok for result in first] == [True, False, False, True]
    assert [result.ok for result in again] == [True, True, False, True]
    assert [result.value for result in again] == [{"of": 0}, {"of": 1}, None, {"of": 3}]
    assert finish.calls == Counter({0: 1, 1: 2, 2: 2, 3: 1})
    assert api.creates == before == 4


async def test_a_journal_without_finish_is_finished_by_a_later_run(journal: Path) -> None:
    api, finish = BatchAPI(), Finishing()
    await run(api, inputs(200), journal)

    results = await run(api, inputs(200), journal, finish=finish, concurrency=3)
    again = await run(api, inputs(200), journal)

    assert [result.value for result in results] == [{"of": number} for number in range(200)]
    assert [result.value for result in again] == [result.value for result in results]
    assert all(result.resumed for result in results)
    assert finish.calls == Counter(range(200))
    assert api.creates == 200


@dataclass
class Page:
    """A value that is JSON, and another after it was read."""

    text: str


@pytest.mark.parametrize(
    ("value", "replayed"),
    [
        ({"a": [1, None, "é", 2.5, True]}, {"a": [1, None, "é", 2.5, True]}),
        ("text", "text"),
        (None, None),
        (Page("a"), None),
        ((1, 2), None),
        ({1: "one"}, None),
        (b"bytes", None),
        (float("nan"), None),
        ("half \ud800", None),
        (object(), None),
    ],
)
async def test_a_value_that_is_plain_json_is_replayed(
    journal: Path, value: object, replayed: object
) -> None:
    async def finish(result: BatchResult[Any]) -> object:
        assert result.ok
        return value

    api = BatchAPI()
    (first,) = await run(api, inputs(1), journal, finish=finish)
    (again,) = await run(api, inputs(1), journal, finish=Finishing(0))

    assert first.value is value
    assert again.value == replayed
    assert again.ok
    assert again.output == {"n": 0}


@pytest.mark.parametrize(
    "raised", [ValueError("no room"), MemoryError("no room"), asyncio.CancelledError()]
)
async def test_a_failed_finish_is_the_error_of_its_item(
    journal: Path, raised: BaseException
) -> None:
    api, finish = BatchAPI(), Finishing(1, error=raised)

    results = await run(api, inputs(3), journal, finish=finish)

    assert [result.ok for result in results] == [True, False, True]
    error = results[1].error
    assert isinstance(error, FinishError)
    assert error.__cause__ is not None
    assert str(error).startswith(f"input 1 ({results[1].key}): finish=Finishing raised ")
    assert results[1].prediction is not None
    assert results[1].prediction.output == {"n": 1}
    assert results[1].prediction.id in str(error)
    assert await states(journal) == {State.DONE: 1, State.FINISHED: 2}


async def test_a_finish_that_is_not_a_function_or_not_async_is_named(journal: Path) -> None:
    def finish(result: BatchResult[Any]) -> object:
        return {"of": result.index}

    (result,) = await run(BatchAPI(), inputs(1), journal, finish=finish)

    assert isinstance(result.error, FinishError)
    assert "it returned a dict; make it an async function" in str(result.error)
    with pytest.raises(InvalidArgumentError, match="finish='save' must be an async function"):
        await run(BatchAPI(), inputs(1), journal, finish="save")


async def test_an_output_that_has_expired_is_the_error_of_its_item(journal: Path) -> None:
    api = BatchAPI()
    gone = OutputExpiredError("the output is gone", path=None)

    results = await run(api, inputs(2), journal, finish=Finishing(1, error=gone))

    assert [result.ok for result in results] == [True, False]
    assert isinstance(results[1].error, OutputRemovedError)
    assert results[1].error.prediction is not None
    assert results[1].error.__cause__ is gone
    assert await states(journal) == {State.DONE: 1, State.FINISHED: 1}


async def test_a_slow_finish_holds_back_no_create_until_many_wait(journal: Path) -> None:
    api = BatchAPI()
    go = asyncio.Event()
    running = most = 0

    async def finish(result: BatchResult[Any]) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        return result.index

    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(
            MODEL, inputs(40), journal=journal, concurrency=5, poll=QUICK, finish=finish
        )
        async with batch:
            # Five are in `finish`, and five more have ended and wait for it.
            await until(lambda: batch.progress.running == 10 and not api.running())
            for _ in range(100):
                await asyncio.sleep(0.001)
            assert (api.creates, running) == (10, 5)
            go.set()
            results = [result async for result in batch]

    assert sorted(result.index for result in results) == list(range(40))
    assert most == 5


@pytest.mark.parametrize("how", ["drain", "leave", "stuck"])
async def test_a_stop_waits_for_finish_and_leaving_cancels_it(journal: Path, how: str) -> None:
    api = BatchAPI()
    began, cancelled = asyncio.Event(), 0
    go = asyncio.Event()

    async def finish(result: BatchResult[Any]) -> int:
        nonlocal cancelled
        began.set()
        while True:
            try:
                await go.wait()
            except asyncio.CancelledError:
                cancelled += 1
                if how != "stuck":
                    raise
            else:
                return result.index

    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(
            MODEL, inputs(5), journal=journal, concurrency=1, poll=QUICK, finish=finish
        )
        async with batch:
            await began.wait()
            if how == "drain":
                batch.stop()
                asyncio.get_running_loop().call_later(0.05, go.set)
                results = [result.value async for result in batch]
                assert results[:1] == [0]
        go.set()

    assert bool(cancelled) == (how != "drain")
    counted = await states(journal)
    assert counted.get(State.FINISHED, 0) >= (how == "drain")
    assert counted.get(State.FINISHED, 0) == 0 or how == "drain"
    if how != "drain":
        assert counted[State.DONE] >= 1


@pytest.mark.parametrize("ended_by", ["error", "stop"])
async def test_what_was_paid_for_is_handed_over_when_finish_is_cancelled(ended_by: str) -> None:
    """There is no journal to resume from."""
    api = BatchAPI()
    running, refusing = 0, asyncio.Event()

    async def finish(_: BatchResult[Any]) -> None:
        nonlocal running
        running += 1
        await asyncio.Event().wait()

    api.refuse = lambda _: problem(402) if refusing.is_set() else None

    async def rows() -> AsyncIterator[Input]:
        for each in inputs(2):
            yield each
        await refusing.wait()
        yield {"n": 2}

    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, rows(), concurrency=2, poll=QUICK, finish=finish, ordered=True)
        async with batch:
            await until(lambda: running == 2)
            if ended_by == "stop":
                batch.stop(drain=False)
            refusing.set()
            results, error = await results_and_error(batch)

    assert isinstance(error, PaymentRequiredError if ended_by == "error" else type(None))
    assert [type(result.error) for result in results] == [FinishError, FinishError]
    assert [result.prediction and result.prediction.output for result in results] == inputs(2)
    assert all("the batch ended before" in str(result.error) for result in results)


async def test_without_a_journal_it_is_called_too_and_counted() -> None:
    api, finish = BatchAPI(), Finishing(1)
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, inputs(3), poll=QUICK, finish=finish, ordered=True)
        results = [result.value async for result in batch]

    assert results == [{"of": 0}, None, {"of": 2}]
    summary = batch.summary
    assert (summary.ok, summary.failed, summary.finished) == (2, 1, 2)
    assert str(summary).startswith("2 ok, 1 failed, 2 finished in ")


async def test_a_resume_counts_what_earlier_runs_have_finished(journal: Path) -> None:
    api = BatchAPI()
    await run(api, inputs(3), journal, finish=Finishing(1))
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, inputs(4), journal=journal, poll=QUICK, finish=Finishing(3))
        assert len([result async for result in batch]) == 4

    assert (batch.summary.ok, batch.summary.finished, batch.summary.created) == (3, 3, 1)
