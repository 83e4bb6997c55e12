from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TextIO

import pytest

from tests.support.cancel_sweep import Scenario, cancel_sweep
from tests.support.fault_server import FaultServer, script
from tests.support.wire import Answer

pytestmark = pytest.mark.anyio


async def three_steps() -> str:
    for _ in range(3):
        await asyncio.sleep(0)
    return "done"


async def leaves_a_task() -> None:
    task = asyncio.create_task(asyncio.sleep(30))
    left.append(task)
    await asyncio.sleep(0)
    task.cancel()


async def leaves_a_file() -> None:
    file = Path("/dev/null").open()  # noqa: ASYNC230, SIM115 - a leak on purpose
    kept.append(file)
    await asyncio.sleep(0)
    kept.pop().close()


async def swallows() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


async def turns_it_into_another() -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        raise LookupError("gone") from None


async def complains() -> None:
    loop = asyncio.get_running_loop()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        loop.call_exception_handler({"message": "something went wrong"})
        raise


left: list[asyncio.Task[None]] = []
kept: list[TextIO] = []


async def test_each_suspension_point_is_cancelled_once() -> None:
    sweep = await cancel_sweep(three_steps)

    assert sweep.points == 3
    sweep.assert_clean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "fault"),
    [
        (leaves_a_task, "task left"),
        (leaves_a_file, "1 file descriptors left"),
        (swallows, "swallowed"),
        (turns_it_into_another, "LookupError"),
        (complains, "something went wrong"),
    ],
)
async def test_what_a_scenario_leaves_behind_is_found(scenario: Scenario, fault: str) -> None:
    sweep = await cancel_sweep(scenario, grace=0.1)

    with pytest.raises(AssertionError, match=fault):
        sweep.assert_clean()
    while left:
        left.pop().cancel()
    while kept:
        kept.pop().close()


async def test_a_scenario_that_never_suspends_proves_nothing() -> None:
    async def at_once() -> None:
        pass

    with pytest.raises(AssertionError, match="never suspended"):
        (await cancel_sweep(at_once)).assert_clean()


async def test_a_connection_left_open_is_found_on_the_server() -> None:
    async with FaultServer(script(Answer())) as server:
        sockets: list[socket.socket] = []

        async def connects() -> None:
            connection = socket.create_connection(("127.0.0.1", server.port))
            sockets.append(connection)
            await asyncio.sleep(0.01)
            connection.close()

        sweep = await cancel_sweep(
            connects, open_connections=lambda: server.open_connections, grace=0.1
        )

        with pytest.raises(AssertionError, match="1 connections left open"):
            sweep.assert_clean()
        for connection in sockets:
            connection.close()


async def test_an_honest_client_is_clean() -> None:
    async with FaultServer(script(Answer(framing="close", body=b"hello"))) as server:

        async def asks() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                return await reader.read()
            finally:
                writer.close()

        sweep = await cancel_sweep(asks, open_connections=lambda: server.open_connections)

    assert sweep.points >= 2
    sweep.assert_clean()
