"""httpx-sse: on httpx as it is documented, or its decoders on aiohttp."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
import httpx
from httpx_sse import aconnect_sse
from httpx_sse._decoders import SSEDecoder, SSELineDecoder


def connect(origin: str, way: str) -> Callable[[str], Awaitable[int]]:
    """Return what reads a stream, "httpx" or "aiohttp" by *way*."""
    return _on_httpx(origin) if way == "httpx" else _on_aiohttp(origin)


def _on_httpx(origin: str) -> Callable[[str], Awaitable[int]]:
    client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))

    async def read(path: str) -> int:
        count = 0
        async with aconnect_sse(client, "GET", origin + path) as source:
            async for event in source.aiter_sse():
                if event.event == "done":
                    break
                count += event.event == "output"
        return count

    return read


def _on_aiohttp(origin: str) -> Callable[[str], Awaitable[int]]:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    )

    async def read(path: str) -> int:
        lines, decoder, count = SSELineDecoder(), SSEDecoder(), 0
        async with session.get(origin + path) as response:
            while chunk := await response.content.readany():
                for line in lines.decode(chunk.decode(errors="replace")):
                    event = decoder.decode(line)
                    if event is not None:
                        if event.event == "done":
                            return count
                        count += event.event == "output"
        return count

    return read
