"""An embedded server with models that talk, keep silent or talk too much, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from replicate_async import Replicate
from replicate_async.local import AsyncConcatenateIterator, LocalReplicate


async def trickle() -> AsyncConcatenateIterator[str]:
    """Give a token now and then."""
    for count in range(10_000):
        yield f"token{count} "
        await asyncio.sleep(0.02)


async def silent() -> AsyncConcatenateIterator[str]:
    """Give one token, and no more for a long time."""
    yield "wait"
    await asyncio.sleep(1000)


async def flood() -> AsyncConcatenateIterator[str]:
    """Give 10 MB at once, which is more than all buffers on the way hold, and then no end."""
    for _ in range(500):
        yield "x" * 20_000
        await asyncio.sleep(0)
    await asyncio.sleep(1000)


async def greet(name: str) -> AsyncConcatenateIterator[str]:
    """Give a few tokens."""
    for part in ("Hello", ",", f" {name}", "!\n", "How are you?"):
        yield part
        await asyncio.sleep(0.01)


async def broken() -> AsyncConcatenateIterator[str]:
    """Give a token and fail."""
    yield "so far"
    raise RuntimeError("out of memory")


async def chat(prompt: str, max_tokens: int = 0) -> AsyncConcatenateIterator[str]:
    """Answer a prompt; to "wait", take forever."""
    for part in ("You said: ", prompt, f" ({max_tokens})."):
        yield part
        await asyncio.sleep(1000 if prompt == "wait" else 0.01)


@pytest.fixture
async def server(server: LocalReplicate) -> LocalReplicate:
    for function in (trickle, silent, flood, greet, broken, chat):
        server.model(f"acme/{function.__name__}", official=True)(function)
    return server


@pytest.fixture
async def client(server: LocalReplicate) -> AsyncIterator[Replicate]:
    async with Replicate(server.api_token, base_url=server.url) as connected:
        yield connected
