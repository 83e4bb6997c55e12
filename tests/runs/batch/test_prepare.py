"""``prepare``: an input is made of each row, once for its creates, and never after one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from random import random
from typing import Any, cast

import pytest

from replicate_async import BatchResult, InvalidArgumentError, PrepareError
from replicate_async.runs.batch.journal import State
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, client_of
from tests.runs.batch.resuming import Input, run, states
from tests.runs.batch.test_lost_files import FilesAPI
from tests.support.embedded import until
from tests.support.replies import problem

pytestmark = pytest.mark.anyio

Prepare = Callable[[Mapping[str, Any]], Awaitable[Input]]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def rows(count: int) -> list[Input]:
    return [{"row": number} for number in range(count)]


class Preparing:
    """A function that makes another input of a row at each call."""

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()

    async def __call__(self, row: Mapping[str, Any]) -> Input:
        self.calls[row["row"]] += 1
        await asyncio.sleep(0)
        return {"n": row["row"], "salt": random()}


async def test_the_prepared_input_is_sent_and_the_row_names_the_item(journal: Path) -> None:
    api = BatchAPI()
    plain = await run(BatchAPI(), rows(5), journal.with_name("plain.db"))

    results = await run(api, rows(5), journal, prepare=Preparing())

    assert [result.output for result in results] == [made.input for made in by_n(api)]
    assert [result.input for result in results] == rows(5)
    assert [result.key for result in results] == [result.key for result in plain]


def by_n(api: BatchAPI) -> list[Any]:
    return sorted(api.made, key=lambda made: cast("int", made.input["n"]))


async def test_an_item_is_prepared_once_whatever_its_creates_meet(journal: Path) -> None:
    api, prepare = BatchAPI(), Preparing()

    def refuse(number: int) -> Any:
        return {1: problem(429, retry_after="0.01"), 3: problem(503)}.get(number)

    api.refuse = refuse
    api.lose = lambda number: number == 5

    results = await run(api, rows(4), journal, prepare=prepare, concurrency=2)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert prepare.calls == Counter(range(4))
    assert len(api.made) == 4
    assert [result.output for result in results] == [made.input for made in by_n(api)]


async def test_a_failed_prediction_is_repeated_with_the_same_input(journal: Path) -> None:
    api, prepare = BatchAPI(), Preparing()

    def first_aborts(made: Any) -> None:
        made.status = "succeeded" if len(api.made) else "aborted"

    api.outcome = first_aborts

    (result,) = await run(api, rows(1), journal, prepare=prepare, retries=1)

    assert result.ok
    assert prepare.calls == Counter([0])
    first, second = api.made
    assert first.input == second.input


async def test_an_item_that_was_created_is_not_prepared_again(journal: Path) -> None:
    api, prepare = BatchAPI(seconds=60.0), Preparing()
    async with (
        api.server() as server,
        client_of(server.url) as client,
        client.batch(
            MODEL, rows(3), journal=journal, on_exit="continue", poll=QUICK, prepare=prepare
        ),
    ):
        await until(lambda: len(api.made) == 3)
    for made in api.made:
        made.ends_at = 0.0

    results = await run(api, rows(3), journal, prepare=prepare)
    again = await run(api, rows(3), journal, prepare=prepare)

    assert [result.output for result in results] == [made.input for made in by_n(api)]
    assert [result.output for result in again] == [result.output for result in results]
    assert prepare.calls == Counter(range(3))
    assert len(api.made) == 3


async def test_a_lost_create_of_an_earlier_run_is_found_by_what_was_sent(journal: Path) -> None:
    """A second call of ``prepare`` would give another input, which the list does not show."""
    api, prepare = BatchAPI(lose=lambda _: True), Preparing()
    await lose_all(api, journal, prepare, count=4)
    assert len(api.made) == 4
    api.lose = None

    results = await run(api, rows(4), journal, prepare=prepare)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert [result.output for result in results] == [made.input for made in by_n(api)]
    assert prepare.calls == Counter(range(4))
    assert len(api.made) == 4


async def lose_all(api: BatchAPI, journal: Path, prepare: Prepare, *, count: int) -> None:
    """Leave a journal with intents, as a process does that is killed while answers are lost."""
    api.listing = lambda _: problem(503)
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(
            MODEL, rows(count), journal=journal, poll=QUICK, batch_timeouts=SOON, prepare=prepare
        )
        async with batch:
            await until(lambda: api.creates == count and api.requests["list"] > 0)
    api.listing = None
    assert await states(journal) == {State.INTENT: count}


async def test_a_resume_without_prepare_finds_what_was_sent_too(journal: Path) -> None:
    api = BatchAPI(lose=lambda _: True)
    await lose_all(api, journal, Preparing(), count=2)
    api.lose = None

    results = await run(api, rows(2), journal)

    assert [result.output for result in results] == [made.input for made in by_n(api)]
    assert len(api.made) == 2


async def test_a_lost_create_that_did_not_happen_is_prepared_again_by_a_resume(
    journal: Path,
) -> None:
    api, prepare = BatchAPI(refuse=lambda _: problem(503)), Preparing()
    await lose_all(api, journal, prepare, count=2)
    api.refuse = None

    results = await run(api, rows(2), journal, prepare=prepare)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert prepare.calls == Counter([0, 0, 1, 1])
    assert len(api.made) == 2


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("size", [20, 300_000])
async def test_files_of_a_prepared_input_are_compared_as_they_were_sent(
    journal: Path, size: int, elsewhere: bool
) -> None:
    """A small file is sent as a data URL, a large one as an upload; lists may show other URLs."""

    async def prepare(row: Mapping[str, Any]) -> Input:
        return {"n": row["row"], "images": [random().hex().encode().ljust(size)], "none": None}

    api = FilesAPI(lose=lambda _: True)
    await lose_all(api, journal, prepare, count=3)
    assert len(api.uploads) == (3 if size > 256_000 else 0)
    api.lose = None
    if elsewhere:
        api.altered = lambda given: {**given, "images": ["https://replicate.delivery/a/b.png"]}

    results = await run(api, rows(3), journal, prepare=prepare)

    assert len(api.made) == 3
    if elsewhere:
        assert all(result.uncertain for result in results)
    else:
        assert [result.prediction.output for result in results if result.prediction] == [
            made.input for made in by_n(api)
        ]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (ValueError("no such row"), "ValueError: no such row"),
        (asyncio.CancelledError(), "it was cancelled"),
        (MemoryError("too much"), "MemoryError: too much"),
        (7, "it returned 7, which is no input"),
    ],
)
async def test_a_failed_prepare_is_the_error_of_its_item(
    journal: Path, returned: object, said: str
) -> None:
    api = BatchAPI()

    async def prepare(row: Mapping[str, Any]) -> Any:
        if row["row"] != 1:
            return {"n": row["row"]}
        if isinstance(returned, BaseException):
            raise returned
        return returned

    results = await run(api, rows(3), journal, prepare=prepare)

    assert [result.ok for result in results] == [True, False, True]
    error = results[1].error
    assert isinstance(error, PrepareError)
    assert error.__cause__ is not None
    assert str(error).startswith(f"input 1 ({results[1].key}): prepare=")
    assert "prepare raised" in str(error)
    assert said in str(error)
    assert len(api.made) == 2
    assert await states(journal) == {State.DONE: 2, State.PLANNED: 1}
    results = await run(api, rows(3), journal, prepare=Preparing())
    assert all(result.ok for result in results)


async def test_a_prepare_that_is_not_async_is_named(journal: Path) -> None:
    def prepare(row: Input) -> Input:
        return row

    (result,) = await run(BatchAPI(), rows(1), journal, prepare=prepare)

    assert isinstance(result.error, PrepareError)
    assert "it returned a dict; make it an async function" in str(result.error)
    with pytest.raises(InvalidArgumentError, match="prepare=3 must be an async function"):
        await run(BatchAPI(), rows(1), journal, prepare=3)


async def test_the_stored_input_is_the_sent_one_though_each_reading_differs(
    journal: Path,
) -> None:
    class Odd(dict[str, object]):
        """An input whose second reading has one field more."""

        reads = 0

        def items(self) -> Any:
            self.reads += 1
            return {"n": 1, "of": [1] * self.reads}.items()

    async def prepare(_: Mapping[str, Any]) -> Any:
        return Odd(n=1)

    api = BatchAPI(lose=lambda _: True)
    await lose_all(api, journal, prepare, count=1)
    api.lose = None

    (result,) = await run(api, rows(1), journal, prepare=prepare)

    assert result.output == api.made[0].input
    assert api.creates == 1


async def test_no_more_items_are_prepared_than_may_be_created(journal: Path) -> None:
    api, prepare = BatchAPI(), Preparing()

    results = await run(api, rows(100), journal, prepare=prepare, max_predictions=3)

    assert [result.index for result in results] == [0, 1, 2]
    assert prepare.calls == Counter(range(3))


@pytest.mark.parametrize("how", ["drain", "leave"])
async def test_a_stop_cancels_what_is_prepared(journal: Path, how: str) -> None:
    api = BatchAPI()
    began: list[int] = []
    cancelled: list[int] = []

    async def prepare(row: Mapping[str, Any]) -> Input:
        began.append(row["row"])
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(row["row"])
            raise
        raise AssertionError

    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, rows(10), journal=journal, concurrency=4, prepare=prepare)
        async with batch:
            await until(lambda: len(began) == 4)
            if how == "drain":
                batch.stop()
                assert [result async for result in batch] == []
        assert batch.summary.stopped == ("stop" if how == "drain" else "left")

    assert sorted(cancelled) == began == [0, 1, 2, 3]
    assert api.creates == 0
    assert set(await states(journal)) == {State.PLANNED}


async def test_a_slow_prepare_holds_back_no_create_of_others(journal: Path) -> None:
    """More items are prepared at a time than creates are under way."""
    api = BatchAPI()
    go = asyncio.Event()
    waiting = 0

    async def prepare(row: Mapping[str, Any]) -> Input:
        nonlocal waiting
        if row["row"] < 50:
            waiting += 1
            await go.wait()
        return {"n": row["row"]}

    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, rows(60), journal=journal, poll=QUICK, prepare=prepare)
        results: list[BatchResult[Any]] = []
        async for result in batch:
            results.append(result)
            if len(results) == 10:
                assert waiting == 50
                go.set()

    assert sorted(result.index for result in results) == list(range(60))


async def test_without_a_journal_inputs_are_prepared_too() -> None:
    api, prepare = BatchAPI(), Preparing()
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, rows(4), poll=QUICK, prepare=prepare, ordered=True)
        results = [result async for result in batch]

    assert [result.output for result in results] == [made.input for made in by_n(api)]
    assert prepare.calls == Counter(range(4))


async def test_a_dry_run_calls_neither_function(journal: Path) -> None:
    def never(_: object) -> Any:
        raise AssertionError

    api = BatchAPI(schema={"components": {"schemas": {"Input": {"required": ["n"]}}}})

    results = await run(api, rows(2), journal, dry_run=True, prepare=never, finish=never)

    assert [result.ok for result in results] == [True, True]
    assert api.creates == 0
