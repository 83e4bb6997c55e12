"""`replicate_async`: typed events, chunks of text, or the bytes that go to a browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from replicate_async import Limits, OutputEvent, Prediction, Replicate, Stream
from replicate_async.web import to_sse


async def _typed(stream: Stream) -> int:
    count = 0
    async for event in stream:
        if isinstance(event, OutputEvent):
            count += 1
    return count


async def _text(stream: Stream) -> int:
    count = 0
    async for _ in stream.text():
        count += 1
    return count


async def _relay(stream: Stream) -> int:
    count = 0
    async for piece in to_sse(stream):
        count += piece.count(b"event: output\n")
    return count


_WAYS = {"typed": _typed, "text": _text, "relay": _relay}


def connect(origin: str, way: str) -> Callable[[str], Awaitable[int]]:
    """Return what reads a stream by *way*."""
    client = Replicate("token", base_url=origin, limits=Limits(enabled=False))
    consume = _WAYS[way]

    async def read(path: str) -> int:
        urls = {"stream": origin + path}
        made = {"id": "gm3qorzdhgbfurvjtvhg6dckhu", "status": "processing", "urls": urls}
        async with client.predictions.stream(msgspec.convert(made, Prediction)) as stream:
            return await consume(stream)

    return read
