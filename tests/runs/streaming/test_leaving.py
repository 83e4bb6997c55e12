from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from replicate_async import (
    ClientStateError,
    Replicate,
    Timeout,
)
from replicate_async.runs.streaming.stream import OnExit, Stream
from tests.runs.service import QUICK, Run, Service, cut_at, output
from tests.support.cancel_sweep import cancel_sweep
from tests.support.wire import Answer, Ending

pytestmark = pytest.mark.anyio

WORDS: Final = ["Once", " upon", " a\ntime", "", " ✨", "\n\n", " there", " was"] * 4


class Stop(Exception):  # noqa: N818 - no error, a way out
    pass


async def leave_by_break(stream: Stream) -> None:
    async for _ in stream.text():
        break


async def leave_by_error(stream: Stream) -> None:
    async for _ in stream:
        raise Stop


async def leave_by_cancel(stream: Stream) -> None:
    async for _ in stream.raw():
        task = asyncio.current_task()
        assert task is not None
        task.cancel()


LEAVES: Final = [leave_by_break, leave_by_error, leave_by_cancel]


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("on_exit", ["cancel", "continue"])
async def test_leaving_early_closes_the_connection(
    leave: Callable[[Stream], Awaitable[None]], on_exit: OnExit
) -> None:
    run = Run(output(WORDS)[:-1])
    service = Service(run)

    async def main(client: Replicate) -> None:
        async with client.stream("acme/echo", {}, on_exit=on_exit) as stream:
            await leave(stream)

    async with service.server, service.client() as client:
        await asyncio.gather(asyncio.ensure_future(main(client)), return_exceptions=True)
        await service.closed()
    assert run.canceled == (on_exit == "cancel")


@pytest.mark.virtual_clock
async def test_leaving_waits_for_the_cancel_for_a_bounded_time() -> None:
    run = Run(output(WORDS)[:-1], cancels=Answer(cut=0, ending=Ending.HANG))
    service = Service(run)
    async with service.server, service.client(Timeout(read=600.0)) as client:
        async with client.stream("acme/echo", {}) as stream:
            await leave_by_break(stream)
        assert run.canceled == 1
        await service.closed()


async def test_a_second_cancellation_does_not_stop_the_cancel() -> None:
    run = Run(output(WORDS)[:-1])
    service = Service(run)
    inside = asyncio.Event()

    async def main(client: Replicate) -> None:
        async with client.stream("acme/echo", {}) as stream:
            async for _ in stream:
                inside.set()

    async with service.server, service.client() as client:
        task = asyncio.create_task(main(client))
        await inside.wait()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
        assert run.canceled == 1


async def test_with_continue_a_cancelled_entry_does_not_cancel_the_run() -> None:
    run = Run(output(WORDS))
    service = Service(run)

    async def scenario() -> None:
        async with service.client() as client, client.predictions.stream("p") as stream:
            async for _ in stream:
                pass

    async with service.server:
        sweep = await cancel_sweep(
            scenario, open_connections=lambda: service.server.open_connections
        )
    sweep.assert_clean()
    assert run.canceled == 0


async def test_a_cancellation_during_a_reconnect_leaves_no_connection_open() -> None:
    run = Run(output(WORDS))
    run.answers = lambda _connection, last: cut_at(
        run.rest(last) if last == "1690212292:20" else run.rest(last)[:800], 10_000, Ending.RESET
    )
    service = Service(run)

    async def scenario() -> None:
        async with service.client() as client, client.stream("acme/echo", {}, poll=QUICK) as stream:
            async for _ in stream:
                pass

    async with service.server:
        sweep = await cancel_sweep(
            scenario, open_connections=lambda: service.server.open_connections, limit=60
        )
    assert [fault for fault in sweep.faults if "did not end" not in fault] == []


async def test_closing_wakes_the_reader() -> None:
    service = Service(Run(output(WORDS)[:-1]))
    reading = asyncio.Event()

    async def read(stream: Stream) -> None:
        async for event in stream:
            if event.id.endswith(f":{len(WORDS) - 1}"):
                asyncio.get_running_loop().call_later(0.01, reading.set)

    async with service.server, service.client() as client, client.predictions.stream("p") as stream:
        task = asyncio.create_task(read(stream))
        await reading.wait()
        with pytest.raises(ClientStateError, match="another task"):
            await anext(stream.text())
        await stream.aclose()
        with pytest.raises(ClientStateError, match="closed"):
            await task
