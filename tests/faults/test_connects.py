"""Connections that are opened at the same time: a bounded number, each in its own time."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from socket import socket
from typing import Any

import aiohttp
import pytest

from replicate_async import Limits, Replicate, Timeout
from tests.faults.calls import after
from tests.support.fault_server import FaultServer, script
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock]


class Connects:
    """Counts the connections that an event loop is opening; each takes *seconds*."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.opening = 0
        self.most = 0
        self.opened = 0

    @contextmanager
    def counted(self, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
        loop = asyncio.get_running_loop()
        connect = loop.sock_connect

        async def sock_connect(sock: socket, address: Any) -> None:
            self.opening += 1
            self.most = max(self.most, self.opening)
            try:
                await asyncio.sleep(self.seconds)
                await connect(sock, address)
                self.opened += 1
            finally:
                self.opening -= 1

        with monkeypatch.context() as patched:
            patched.setattr(loop, "sock_connect", sock_connect)
            yield


async def test_a_bounded_number_of_connections_is_opened_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connects = Connects(0.01)
    limits = Limits(connects=5, enabled=False)
    async with (
        after() as server,
        Replicate(TOKEN, base_url=server.url, limits=limits) as client,
    ):
        with connects.counted(monkeypatch):
            await asyncio.gather(*(client.account.get() for _ in range(100)))

    assert len(server.requests) == 100
    assert connects.most == 5


async def test_the_wait_for_a_turn_to_connect_is_not_time_of_the_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connects = Connects(0.04)
    limits = Limits(connects=1, enabled=False)
    timeout = Timeout(connect=0.06)
    async with (
        after() as server,
        Replicate(TOKEN, base_url=server.url, limits=limits, timeout=timeout) as client,
    ):
        with connects.counted(monkeypatch):
            await asyncio.gather(*(client.account.get() for _ in range(20)))

    assert len(server.requests) == 20
    assert connects.most == 1


async def test_waiting_for_the_pool_of_a_session_is_not_connect_time() -> None:
    slow = Answer(body=b'{"type": "user", "username": "acme"}', delay=0.04)
    async with (
        FaultServer(script(slow)) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        Replicate(
            TOKEN, base_url=server.url, session=session, timeout=Timeout(connect=0.06)
        ) as client,
    ):
        await asyncio.gather(*(client.account.get() for _ in range(20)))

    assert len(server.requests) == 20


async def test_a_request_that_waits_takes_a_connection_that_is_free_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connects = Connects(0.01)
    limits = Limits(connects=1, enabled=False)
    async with (
        after() as server,
        Replicate(TOKEN, base_url=server.url, limits=limits) as client,
    ):
        with connects.counted(monkeypatch):
            await asyncio.gather(*(client.account.get() for _ in range(50)))

    assert connects.opened < 50
