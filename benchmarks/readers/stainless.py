"""The event decoder that 2.0.0b4 and openai share, on the bytes of their own HTTP clients.

2.0.0b4 follows predictions by polling, and openai's streams are JSON: neither has a public way to
read these streams, so the decoders of their clients are given the bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any


def connect(origin: str, way: str) -> Callable[[str], Awaitable[int]]:
    """Return what reads a stream with the client that *way* names."""
    client: Any
    if way == "beta":
        replicate: Any = import_module("replicate")
        httpx: Any = import_module("httpx")
        client = replicate.AsyncReplicate(
            bearer_token="r8_benchmark",
            base_url=origin,
            http_client=replicate.DefaultAioHttpClient(
                timeout=None, limits=httpx.Limits(max_connections=10_000)
            ),
        )
    else:
        openai: Any = import_module("openai")
        httpx2: Any = import_module("httpx2")
        client = openai.AsyncOpenAI(
            api_key="benchmark",
            base_url=origin,
            http_client=openai.DefaultAsyncHttpxClient(
                timeout=None, limits=httpx2.Limits(max_connections=10_000)
            ),
        )

    # Both are private: what is public parses the data of every event as JSON.
    http, make_decoder = client._client, client._make_sse_decoder  # noqa: SLF001 - they have no public name

    async def read(path: str) -> int:
        count = 0
        async with http.stream("GET", origin + path) as response:
            decoder = make_decoder()
            async for event in decoder.aiter_bytes(response.aiter_bytes()):
                if event.event == "done":
                    break
                count += event.event == "output"
        return count

    return read
