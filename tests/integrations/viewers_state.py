"""What Redis knows of the viewers of predictions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import Redis

from tests.support.redis_server import RedisServer
from tests.support.waiting import HANG


@asynccontextmanager
async def connected(store: RedisServer) -> AsyncGenerator[Any]:
    client: Any = cast("Any", Redis).from_url(store.url, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


async def until_named(client: Any, name: str, number: int) -> None:
    """Wait until *number* connections to the server of *client* have a *name*."""
    async with asyncio.timeout(HANG):
        while [each["name"] for each in await client.client_list()].count(name) != number:  # noqa: ASYNC110 - the server signals nothing
            await asyncio.sleep(0.002)


async def until_streamed_by(store: RedisServer, key: str, number: int, name: str = "p") -> None:
    """Wait until Redis knows of so many processes that stream a prediction."""
    async with connected(store) as client, asyncio.timeout(HANG):
        while True:
            leases = await client.hget(f"{{{key}}}:viewers:leases", name)
            if len(json.loads(leases or "{}")) == number:
                return
            await asyncio.sleep(0.005)
