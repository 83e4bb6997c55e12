"""aiohttp alone: the bytes are read and thrown away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp


def connect(origin: str, way: str) -> Callable[[str], Awaitable[None]]:
    """Return what reads a stream; there is one *way*."""
    assert way == "bytes"
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    )

    async def read(path: str) -> None:
        async with session.get(origin + path) as response:
            while await response.content.readany():
                pass

    return read
