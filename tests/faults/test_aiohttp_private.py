"""The private names of aiohttp that `transport/aiohttp_private.py` uses, and nothing else does.

A release of aiohttp without one of them fails here, and not in production.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.connector import Connection

from replicate_async.transport import aiohttp_private
from tests.support.embedded import until
from tests.support.fault_server import FaultServer, Handler, script
from tests.support.ports import free_port
from tests.support.wire import Answer, Ending

pytestmark = pytest.mark.anyio

TRANSPORT = Path(aiohttp_private.__file__).parent
AIOHTTPS_OWN = {"read_timeout", "start_timeout"}


def private_names(path: Path) -> Iterator[str]:
    """Yield the private attributes that *path* uses of other objects than its own."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            if node.attr in AIOHTTPS_OWN or (private and not own):
                yield f"{path.name}:{node.lineno} {node.attr}"


def in_turn(*answers: Answer) -> Handler:
    rest = list(answers)
    return lambda _: rest.pop(0)


def test_only_one_module_uses_private_names() -> None:
    used = {path.name: list(private_names(path)) for path in TRANSPORT.glob("*.py")}

    assert used.pop("aiohttp_private.py")
    assert {name for names in used.values() for name in names} == set()


async def test_a_session_repeats_reads_until_it_is_told_not_to() -> None:
    """Break each reused connection once: only a session that repeats gets a second answer."""
    for repeats in (True, False):
        answers = [Answer(body=b"first"), Answer(cut=0, ending=Ending.CLOSE), Answer(body=b"again")]
        async with (
            FaultServer(in_turn(*answers)) as server,
            aiohttp.ClientSession() as session,
        ):
            if not repeats:
                aiohttp_private.disable_retries(session)
            async with session.get(server.url) as first:
                assert await first.read() == b"first"
            outcome = b""
            with suppress(aiohttp.ServerDisconnectedError):
                async with session.get(server.url) as second:
                    outcome = await second.read()

        assert outcome == (b"again" if repeats else b"")


async def test_a_connection_in_the_pool_needs_no_turn_to_connect() -> None:
    reused = list[bool]()

    class Connector(aiohttp.TCPConnector):
        async def connect(
            self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
        ) -> Connection:
            found = await aiohttp_private.pooled(self, req, traces)
            reused.append(found is not None)
            return found or await super().connect(req, traces, timeout)

    async with (
        FaultServer(script(Answer(body=b"x"))) as server,
        aiohttp.ClientSession(connector=Connector()) as session,
    ):
        for _ in range(2):
            async with session.get(server.url) as response:
                assert await response.read() == b"x"

    assert reused == [False, True]


async def test_a_session_tells_its_event_loop() -> None:
    async with aiohttp.ClientSession() as session:
        assert aiohttp_private.loop_of(session) is asyncio.get_running_loop()


async def test_a_session_takes_over_the_proxy_of_another() -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    async with aiohttp.ClientSession(proxy=proxy) as given, aiohttp.ClientSession() as session:
        aiohttp_private.share_proxy(given, session)

        with pytest.raises(aiohttp.ClientProxyConnectionError):
            await session.get("http://replicate.example/")


@pytest.mark.virtual_clock
async def test_the_timer_of_reads_can_be_stopped() -> None:
    half = Answer(body=b"x" * 100, cut=90, ending=Ending.HANG)
    limits = aiohttp.ClientTimeout(sock_read=0.05)
    async with (
        FaultServer(script(half)) as server,
        aiohttp.ClientSession(timeout=limits) as session,
        session.get(server.url) as ended,
        session.get(server.url) as patient,
    ):
        aiohttp_private.stop_read_timer(patient)
        with pytest.raises(TimeoutError):
            await ended.read()
        reading = asyncio.ensure_future(patient.read())
        await asyncio.wait({reading}, timeout=10)

        assert not reading.done()
        reading.cancel()
        await asyncio.wait({reading})


async def test_what_came_before_a_connection_broke_can_be_read() -> None:
    half = Answer(body=b"x" * 100, cut=90, ending=Ending.CLOSE)
    async with (
        FaultServer(script(half)) as server,
        aiohttp.ClientSession() as session,
        session.get(server.url) as response,
    ):
        await until(lambda: response.content.exception() is not None)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.readany()

        assert 0 < len(aiohttp_private.unread(response.content)) < 100
        assert aiohttp_private.unread(response.content) == b""
