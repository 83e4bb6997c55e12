"""An `asyncio.Protocol` that asks by hand, reads and throws away: about the least there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import urlsplit


class _Reading(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        pass

    def connection_lost(self, _: Exception | None) -> None:
        self.over.set_result(None)


def connect(origin: str, way: str) -> Callable[[str], Awaitable[None]]:
    """Return what reads a stream; there is one *way*."""
    assert way == "bytes"
    parts = urlsplit(origin)

    async def read(path: str) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        loop = asyncio.get_running_loop()
        _, reading = await loop.create_connection(
            lambda: _Reading(request), parts.hostname, parts.port
        )
        await reading.over

    return read
