"""An embedded server with settings of the test's own, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from replicate_async import Replicate, Retry
from replicate_async.local import LocalReplicate, Settings
from tests.support.sentinel import TOKEN
from tests.support.waiting import HANG

T = TypeVar("T")


class Cold:
    """A model whose setup goes on until the server closes."""

    async def setup(self) -> None:
        await asyncio.Event().wait()

    def predict(self, value: int = 1) -> int:
        return value


@asynccontextmanager
async def embedded(settings: Settings) -> AsyncGenerator[tuple[LocalReplicate, Replicate]]:
    """Start a server with *settings* for the account "dev", and a client that sends once."""
    async with (
        LocalReplicate(api_token=TOKEN, username="dev", settings=settings) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        yield server, client


async def until(condition: Callable[[], T | None]) -> T:
    """Wait until *condition* gives something that is true, and return it."""
    async with asyncio.timeout(HANG):
        while not (found := condition()):  # noqa: ASYNC110 - the condition signals nothing
            await asyncio.sleep(0.002)
    return found
