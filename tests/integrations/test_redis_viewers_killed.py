from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest

from replicate_async import Replicate
from replicate_async.core.sse import Parser
from replicate_async.local import AsyncConcatenateIterator, LocalReplicate
from tests.support.ports import free_port
from tests.support.redis_server import PROGRAM as SERVER
from tests.support.redis_server import RedisServer
from tests.support.waiting import HANG
from tests.web.example import listens

pytest.importorskip("redis", reason="the integrations session installs it")

from tests.integrations.viewers_state import until_streamed_by

PROGRAM: Final = Path(__file__).with_name("viewers_worker.py")
ROOT: Final = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(SERVER is None, reason="needs redis-server, which .ci/run installs"),
]


async def counting() -> AsyncConcatenateIterator[str]:
    """Give a number now and then."""
    for number in range(100_000):
        yield f"{number} "
        await asyncio.sleep(0.02)


@asynccontextmanager
async def worker(store: RedisServer, key: str, server: LocalReplicate) -> AsyncGenerator[Worker]:
    port = free_port()
    environment = {"REPLICATE_API_TOKEN": server.api_token, "REPLICATE_BASE_URL": server.url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), str(port), store.url, key, "5", "4"),
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
    )
    try:
        await listens(port)
        yield Worker(f"http://127.0.0.1:{port}/runs", process)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


class Worker(NamedTuple):
    url: str
    process: asyncio.subprocess.Process


class Tab:
    """A browser tab that streams a prediction, and goes on at another worker where it was."""

    def __init__(self, prediction_id: str) -> None:
        self._prediction_id = prediction_id
        self._last_event_id = ""
        self.text = ""

    @asynccontextmanager
    async def reading(self, worker: Worker) -> AsyncGenerator[Callable[[int], Awaitable[None]]]:
        """Connect; yields a function that reads so many characters more, at least."""
        url = f"{worker.url}/{self._prediction_id}/events"
        headers = {"Last-Event-ID": self._last_event_id}
        parser = Parser()
        async with (
            httpx.AsyncClient(timeout=HANG) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            pieces = answer.aiter_bytes()

            async def read(characters: int) -> None:
                goal = len(self.text) + characters
                while len(self.text) < goal:
                    for event in parser.feed(await anext(pieces)):
                        self.text += event.data
                        self._last_event_id = event.id

            yield read

    def assert_complete(self) -> None:
        whole = "".join(f"{number} " for number in range(len(self.text)))
        assert whole.startswith(self.text)


async def create(worker: Worker) -> str:
    async with httpx.AsyncClient(timeout=HANG) as client:
        answer = await client.post(worker.url)
        name: str = answer.json()["id"]
        return name


async def read_and_kill(
    worker: Worker, tabs: Iterable[Tab], stack: AsyncExitStack, ready: Awaitable[None]
) -> None:
    """Read *tabs* at *worker*, and kill it when *ready*; they are open until *stack* is closed."""
    for tab in tabs:
        await (await stack.enter_async_context(tab.reading(worker)))(20)
    await ready
    worker.process.kill()
    await worker.process.wait()


async def status(client: Replicate, name: str) -> str:
    return str((await client.predictions.get(name)).status)


async def until_canceled(client: Replicate, name: str) -> None:
    async with asyncio.timeout(HANG):
        while await status(client, name) != "canceled":  # noqa: ASYNC110 - a browser sees no more
            await asyncio.sleep(0.05)


async def test_a_run_is_cancelled_when_the_last_tab_of_all_workers_is_gone(
    store: RedisServer, key: str, server: LocalReplicate, client: Replicate
) -> None:
    server.model("acme/counting", official=True)(counting)

    async with worker(store, key, server) as one, worker(store, key, server) as other:
        shared = await create(one)
        alone = await create(one)
        moves, stays, lost = Tab(shared), Tab(shared), Tab(alone)
        async with AsyncExitStack() as killed, stays.reading(other) as read:
            await read(20)
            both = until_streamed_by(store, key, 2, shared)
            await read_and_kill(one, (moves, lost), killed, both)
            await read(20)
            async with moves.reading(other) as read_on:
                await read_on(20)
                await killed.aclose()
                await read(20)
                # The prediction of the tab that was lost with its worker ends with the lease.
                await until_canceled(client, alone)
                assert await status(client, shared) == "processing"
                await read_on(200)
            await until_canceled(client, await create(other))  # a grace period later
            assert await status(client, shared) == "processing"
            await read(200)
        await until_canceled(client, shared)
    moves.assert_complete()
    stays.assert_complete()


@pytest.mark.parametrize("outage", ["silent", "restarted"])
async def test_a_worker_is_killed_before_an_outage_of_redis(
    tmp_path: Path, key: str, server: LocalReplicate, client: Replicate, outage: str
) -> None:
    server.model("acme/counting", official=True)(counting)
    with RedisServer(tmp_path) as store:
        async with worker(store, key, server) as one, worker(store, key, server) as other:
            shared, alone = await create(one), await create(one)
            moves, stays, lost = Tab(shared), Tab(shared), Tab(alone)
            async with AsyncExitStack() as killed, stays.reading(other) as read:
                await read(20)
                both = until_streamed_by(store, key, 2, shared)
                await read_and_kill(one, (moves, lost), killed, both)
                if outage == "restarted":
                    store.kill()
                    store.start()
                else:
                    store.freeze()
                    await asyncio.sleep(4.5)  # longer than a lease
                    store.thaw()
                await killed.aclose()
                async with moves.reading(other) as read_on:
                    await read_on(20)
                await until_canceled(client, await create(other))
                if outage == "silent":  # a restarted Redis has forgotten it
                    await until_canceled(client, alone)
                assert await status(client, shared) == "processing"
                await read(20)
            await until_canceled(client, shared)
    moves.assert_complete()
    stays.assert_complete()
