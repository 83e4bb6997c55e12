"""Leaving, stopping and cancelling a batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from replicate_async import (
    Batch,
    ClientStateError,
    Limits,
    Replicate,
    UnprocessableEntityError,
)
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from replicate_async.runs.batch.journal.reader import status
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, client_of
from tests.runs.batch.test_batch import COARSE, inputs
from tests.support.cancel_sweep import cancel_sweep
from tests.support.embedded import until
from tests.support.fault_server import FaultServer
from tests.support.replies import problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def api() -> BatchAPI:
    return BatchAPI(seconds=60.0)


@pytest.fixture
async def server(api: BatchAPI) -> AsyncIterator[FaultServer]:
    async with api.server() as running:
        yield running


@pytest.fixture
async def client(server: FaultServer) -> AsyncIterator[Replicate]:
    async with client_of(server.url) as connected:
        yield connected


def batch_of(client: Replicate, count: int = 1000, **options: Any) -> Batch[Any]:
    given: dict[str, Any] = {"poll": QUICK, "batch_timeouts": SOON, "concurrency": 4, **options}
    return client.batch(MODEL, inputs(count), **given)


async def until_running(api: BatchAPI, count: int) -> None:
    await until(lambda: api.running() >= count)


def first_is_quick(api: BatchAPI) -> None:
    def outcome(made: Any) -> None:
        if made.input["n"] == 0:
            made.ends_at -= 60

    api.outcome = outcome


async def test_leaving_the_block_cancels_what_runs(api: BatchAPI, client: Replicate) -> None:
    async with batch_of(client) as batch:
        await until_running(api, 4)

    assert api.creates == 4
    assert all(made.canceled for made in api.made)
    assert batch.summary.stopped == "left"


async def test_on_exit_continue_cancels_nothing(api: BatchAPI, client: Replicate) -> None:
    async with batch_of(client, on_exit="continue"):
        await until_running(api, 4)

    assert api.creates == 4
    assert not any(made.canceled for made in api.made)


async def test_breaking_out_of_the_loop_ends_the_batch_before_the_client_is_closed(
    api: BatchAPI, server: FaultServer
) -> None:
    first_is_quick(api)
    async with client_of(server.url) as client:
        async for _ in batch_of(client):
            break

    assert api.running() == 0
    assert api.creates <= 6


async def breaking(client: Replicate) -> None:
    async for _ in batch_of(client):
        raise ZeroDivisionError


async def test_a_client_whose_closing_is_cancelled_ends_all_its_batches(
    api: BatchAPI, client: Replicate
) -> None:
    batches = [await batch_of(client).__aenter__() for _ in range(2)]
    await until_running(api, 8)

    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})

    assert closing.cancelled()
    assert all(" over, " in repr(batch) for batch in batches)
    assert all(made.canceled for made in api.made)


async def test_an_error_in_the_loop_ends_the_batch_too(api: BatchAPI, server: FaultServer) -> None:
    first_is_quick(api)
    async with client_of(server.url) as client:
        with pytest.raises(ZeroDivisionError):
            await breaking(client)

    assert api.running() == 0


@pytest.mark.parametrize("cancelled_by", ["asyncio", "anyio"])
async def test_a_cancelled_loop_cancels_what_runs(
    api: BatchAPI, client: Replicate, cancelled_by: str
) -> None:
    async def loop() -> None:
        async for _ in batch_of(client):
            pass

    if cancelled_by == "asyncio":
        task = asyncio.create_task(loop())
        await until_running(api, 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(loop)
            await until_running(api, 4)
            group.cancel_scope.cancel()

    assert all(made.canceled for made in api.made)


async def test_a_create_under_way_is_cancelled_when_its_answer_comes(api: BatchAPI) -> None:
    first = asyncio.Event()

    def seen(_event: str, _number: int) -> None:
        first.set()

    api.seen = seen
    async with api.server() as server, client_of(server.url) as client, batch_of(client, 1):
        await first.wait()

    assert [made.canceled for made in api.made] == [True]


async def test_a_second_cancel_ends_it_at_once(api: BatchAPI, client: Replicate) -> None:
    async def loop() -> None:
        async for _ in batch_of(client):
            pass

    task = asyncio.create_task(loop())
    await until_running(api, 4)
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.virtual_clock
async def test_stop_drains_what_runs(api: BatchAPI, client: Replicate) -> None:
    api.seconds = 0.1
    batch = batch_of(client, poll=COARSE)
    results: list[Any] = []
    async for result in batch:
        results.append(result)
        batch.stop()

    assert len(results) == api.creates <= 12
    assert all(result.ok for result in results)
    assert batch.summary.stopped == "stop"
    assert not any(made.canceled for made in api.made)


async def test_a_stop_leaves_no_refusal_that_is_recorded_and_not_handed_over(
    api: BatchAPI, client: Replicate, tmp_path: Path
) -> None:
    api.refuse = lambda _: problem(422)
    for count in range(1, 11):
        path = tmp_path / f"{count}.db"
        batch = batch_of(client, 40, concurrency=40, journal=path)
        handed_over = 0
        async for result in batch:
            assert isinstance(result.error, UnprocessableEntityError)
            handed_over += 1
            if handed_over == count:
                batch.stop()

        assert status(path).failed == handed_over == batch.summary.failed >= count


async def test_stop_without_drain_ends_the_loop_at_once(api: BatchAPI, client: Replicate) -> None:
    batch = batch_of(client)
    asyncio.get_running_loop().call_later(0.1, lambda: batch.stop(drain=False))

    assert [result async for result in batch] == []
    assert all(made.canceled for made in api.made)


async def test_items_that_wait_for_a_permit_are_not_created_after_a_stop(
    tmp_path: Path,
) -> None:
    api, path = BatchAPI(), tmp_path / "batch.db"
    async with (
        api.server() as server,
        client_of(server.url, limits=Limits(creates=1, burst=2)) as client,
    ):
        batch = batch_of(client, journal=path, concurrency=50)
        results = [await anext(batch), await anext(batch)]
        batch.stop()
        results += [result async for result in batch]

    assert len(results) == api.creates == 2
    assert status(path).counts[State.INTENT] == 0


async def test_a_stop_before_the_iteration_starts_nothing(api: BatchAPI, client: Replicate) -> None:
    batch = batch_of(client)
    batch.stop()

    assert [result async for result in batch] == []
    assert api.creates == 0


async def test_a_stop_wakes_a_batch_that_waits_for_inputs(client: Replicate) -> None:
    closed = False

    async def never() -> AsyncIterator[dict[str, object]]:
        nonlocal closed
        try:
            asyncio.get_running_loop().call_soon(batch.stop)
            await asyncio.Event().wait()
            yield {}
        finally:
            closed = True

    async with aclosing(client.batch(MODEL, never())) as batch:
        assert [result async for result in batch] == []
    assert closed


async def test_a_cancelled_item_is_planned_again_in_the_journal(
    api: BatchAPI, client: Replicate, tmp_path: Path
) -> None:
    path = tmp_path / "batch.db"
    async with batch_of(client, 4, journal=path):
        await until_running(api, 4)
    assert status(path).counts[State.PLANNED] == 4
    for made in api.made:
        assert made.canceled
    api.seconds = 0.0

    results = [result async for result in batch_of(client, 4, journal=path)]

    assert all(result.ok for result in results), [result.error for result in results]
    assert api.creates == 8


async def test_the_end_of_the_event_loop_ends_the_batch_and_closes_the_journal(
    api: BatchAPI, server: FaultServer, tmp_path: Path
) -> None:
    path = tmp_path / "batch.db"
    kept: list[Batch[Any]] = []

    async def leaves_it_running() -> None:
        client = client_of(server.url)
        kept.append(batch_of(client, 4, journal=path))
        await kept[0].__aenter__()
        await until(lambda: kept[0].progress.created == 4)
        await until(lambda: status(path).counts[State.CREATED] == 4)

    await asyncio.to_thread(asyncio.run, leaves_it_running())

    assert kept[0].summary.stopped == "left"
    async with await Journal.open(path, JournalHeader(model=MODEL)):  # it is not locked
        counts = status(path).counts
    assert counts[State.PLANNED] + counts[State.CREATED] == 4


async def test_a_prediction_that_was_left_running_is_taken_up_again(
    api: BatchAPI, client: Replicate, tmp_path: Path
) -> None:
    path = tmp_path / "batch.db"
    async with batch_of(client, 4, journal=path, on_exit="continue") as batch:
        await until_running(api, 4)
    for made in api.made:
        made.ends_at -= 60

    results = [result async for result in batch_of(client, 4, journal=path)]

    assert all(result.ok and result.resumed for result in results)
    assert api.creates == 4
    assert batch.how_to_resume == (
        f"Run the same batch with journal='{path}' to resume: nothing is created twice."
    )
    assert "has no journal" in batch_of(client).how_to_resume


async def test_a_fatal_error_leaves_running_predictions_to_a_resume(
    api: BatchAPI, client: Replicate, tmp_path: Path
) -> None:
    api.refuse = lambda number: problem(402, "Out of credit") if number == 4 else None
    with pytest.raises(Exception, match="Out of credit") as caught:
        async for _ in batch_of(client, journal=tmp_path / "batch.db"):
            pass

    assert "same journal to go on" in caught.value.__notes__[0]
    assert not any(made.canceled for made in api.made)


async def test_a_batch_belongs_to_one_event_loop(client: Replicate) -> None:
    batch = batch_of(client, 0)
    await anext(batch, None)

    async def elsewhere() -> object:
        return await anext(batch, None)

    with pytest.raises(ClientStateError, match="event loop that it began in"):
        await asyncio.to_thread(asyncio.run, elsewhere())


@pytest.mark.parametrize("journaled", [False, True])
async def test_a_cancel_at_any_point_leaves_nothing(tmp_path: Path, journaled: bool) -> None:
    api = BatchAPI(seconds=0.003)
    number = 0
    async with api.server() as server:

        async def scenario() -> None:
            nonlocal number
            number += 1
            journal = tmp_path / f"{number}.db" if journaled else None
            async with client_of(server.url) as client:
                async for result in batch_of(client, 4, journal=journal, concurrency=2):
                    assert result.ok

        sweep = await cancel_sweep(scenario, open_connections=lambda: server.open_connections)

    sweep.assert_clean()
    assert sweep.points >= 4


async def test_a_drained_batch_can_be_swept(tmp_path: Path) -> None:
    api = BatchAPI(seconds=0.003)
    async with api.server() as server:

        async def scenario() -> None:
            async with (
                client_of(server.url) as client,
                batch_of(client, 8, concurrency=2) as batch,
            ):
                await anext(batch)
                batch.stop()
                async for result in batch:
                    assert result.ok

        sweep = await cancel_sweep(scenario, open_connections=lambda: server.open_connections)

    sweep.assert_clean()
