"""The clock that stands still while anything works."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.fault_server import FaultServer, script
from tests.support.virtual_time import now, threads_work
from tests.support.wire import Answer, Ending

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_an_hour_passes_at_once() -> None:
    loop = asyncio.get_running_loop()
    began, epoch = loop.time(), now()

    await asyncio.sleep(3600)

    assert 3600 <= loop.time() - began < 3601
    assert 3600 <= now() - epoch < 3601


async def test_an_answer_is_there_before_any_timeout_however_short() -> None:
    async with FaultServer(script(Answer(body=b"x" * 1_000_000, framing="close"))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        async with asyncio.timeout(1e-6):
            answer = await reader.read()
        writer.close()

    assert answer.endswith(b"x" * 1_000_000)


async def test_silence_ends_by_its_timeout() -> None:
    async with FaultServer(script(Answer(cut=0, ending=Ending.HANG))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1000):
                await reader.read()
        writer.close()


async def test_a_thread_holds_the_clock() -> None:
    with ThreadPoolExecutor(1) as executor:
        async with asyncio.timeout(0.001):
            await asyncio.to_thread(time.sleep, 0.2)
            await asyncio.wrap_future(executor.submit(time.sleep, 0.2))
    assert not threads_work()


async def test_timers_fire_in_their_order_and_each_at_its_time() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    fired: list[float] = []

    def fire(delay: float) -> None:
        assert loop.time() >= began + delay
        fired.append(delay)

    for delay in (0.3, 0.1, 0.2):
        loop.call_at(began + delay, fire, delay)
    await asyncio.sleep(0.4)

    assert fired == [0.1, 0.2, 0.3]
