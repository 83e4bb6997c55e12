"""`replicate` 1.0.7, by `async_stream`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

_REF = "meta/llama:5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


def connect(origin: str, way: str) -> Callable[[str], Awaitable[int]]:
    """Return what reads a stream; there is one *way*."""
    assert way == "stream"
    replicate: Any = import_module("replicate")
    httpx: Any = import_module("httpx")
    # Its own limits are 100 connections and 10 seconds of waiting for one.
    client = replicate.Client(
        "r8_benchmark",
        base_url=origin,
        timeout=httpx.Timeout(None),
        transport=httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None)),
    )

    async def read(path: str) -> int:
        count = 0
        async for event in await client.async_stream(_REF, {"path": path}):
            count += event.event.value == "output"
        return count

    return read
