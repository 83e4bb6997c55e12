from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from replicate_async import InvalidArgumentError, Replicate
from replicate_async.web import ViewerStream
from tests.runs.service import Run, Service, output
from tests.support.embedded import until
from tests.support.fault_proxy import FaultProxy, Gate, Latency
from tests.support.ports import free_port
from tests.support.redis_server import PROGRAM as SERVER
from tests.support.redis_server import RedisServer
from tests.support.replies import problem
from tests.support.sentinel import TOKEN
from tests.support.waiting import HANG

pytest.importorskip("redis", reason="the integrations session installs it")

from replicate_async.integrations.redis import RedisViewers
from tests.integrations.viewers_state import connected, until_named, until_streamed_by

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(SERVER is None, reason="needs redis-server, which .ci/run installs"),
]


def endless() -> Run:
    return Run(output(["wait"])[:-1])


class Workers:
    """Processes with viewers of one prediction, "p", and of others that nothing streams."""

    def __init__(self, service: Service, key: str, stack: AsyncExitStack) -> None:
        self.service = service
        self._key = key
        self._stack = stack
        self._names = count()

    @property
    def canceled(self) -> int:
        return self.service.runs["p"].canceled

    async def start(
        self, url: str, *, grace_period: float = 0.05, lease: float = 2
    ) -> RedisViewers:
        client = await self._stack.enter_async_context(self.service.client())
        viewers = RedisViewers(client, url, grace_period=grace_period, lease=lease, key=self._key)
        return await self._stack.enter_async_context(viewers)

    async def pass_grace_period(self, viewers: RedisViewers) -> None:
        """Wait until a prediction is cancelled whose grace period began after all others."""
        name = f"q{next(self._names)}"
        run = self.service.runs[name] = endless()
        async with self.service.client() as client:
            viewers.track(await client.predictions.get(name))
        await until(lambda: run.canceled)


@pytest.fixture
async def workers(key: str) -> AsyncIterator[Workers]:
    service = Service(endless())
    async with service.server, AsyncExitStack() as stack:
        yield Workers(service, key, stack)


@asynccontextmanager
async def tab(viewers: RedisViewers) -> AsyncGenerator[ViewerStream]:
    """Open a stream of "p", and read its first event."""
    async with viewers.stream("p") as stream:
        await anext(aiter(stream))
        yield stream


async def test_a_run_is_cancelled_once_when_no_worker_has_a_viewer(
    store: RedisServer, workers: Workers, key: str
) -> None:
    one, other = await workers.start(store.url), await workers.start(store.url)
    async with tab(one):
        async with tab(other):
            await until_streamed_by(store, key, 2)
        await workers.pass_grace_period(other)
        assert workers.canceled == 0
    await until(lambda: workers.canceled)
    await workers.pass_grace_period(one)
    await workers.pass_grace_period(other)
    assert workers.canceled == 1


async def test_a_tab_that_reloads_at_another_worker_keeps_the_run(
    store: RedisServer, workers: Workers, key: str
) -> None:
    one = await workers.start(store.url, grace_period=1)
    other = await workers.start(store.url)
    async with tab(one):
        await until_streamed_by(store, key, 1)
    async with tab(other):
        await workers.pass_grace_period(one)
        assert workers.canceled == 0
    await until(lambda: workers.canceled)


async def test_a_tracked_run_without_viewers_is_cancelled(
    store: RedisServer, workers: Workers
) -> None:
    await workers.pass_grace_period(await workers.start(store.url))


async def test_a_worker_that_is_cut_off_has_viewers_until_its_lease_ends(
    store: RedisServer, workers: Workers, key: str
) -> None:
    other = await workers.start(store.url, lease=1)
    async with AsyncExitStack() as way:
        proxy = await way.enter_async_context(FaultProxy(store.port))
        cut_off = await workers.start(f"redis://127.0.0.1:{proxy.port}", lease=1)
        async with tab(cut_off):
            await until_streamed_by(store, key, 1)
            await way.aclose()
            await until(lambda: workers.canceled)
    await workers.pass_grace_period(other)
    assert workers.canceled == 1


async def test_a_restarted_redis_learns_of_the_viewers_again(
    tmp_path: Path, workers: Workers, key: str
) -> None:
    with RedisServer(tmp_path) as store:
        one, other = await workers.start(store.url), await workers.start(store.url)
        async with tab(one):
            async with tab(other):
                await until_streamed_by(store, key, 2)
                store.kill()
                store.start()
                await until_streamed_by(store, key, 2)
            await workers.pass_grace_period(other)
            assert workers.canceled == 0
        await until(lambda: workers.canceled)


async def test_a_restarted_redis_cancels_nothing_before_workers_return(
    tmp_path: Path, workers: Workers, key: str
) -> None:
    with RedisServer(tmp_path) as store:
        one = await workers.start(store.url, lease=240)
        other = await workers.start(store.url, lease=240)
        async with tab(other), connected(store) as redis, workers.service.client() as client:
            async with tab(one):
                await until_streamed_by(store, key, 2)
                store.kill()
                store.start()
            workers.service.runs["q"] = endless()
            prediction = await client.predictions.get("q")
            due, now, hold = None, 0, 0
            async with asyncio.timeout(HANG):
                while due is None or now < due + 500:
                    one.track(prediction)  # each is a call, in which the clock moves on
                    due = await redis.zscore(f"{{{key}}}:viewers", "p")
                    state = await redis.hget(f"{{{key}}}:viewers:leases", "")
                    _, now, hold = json.loads(state or "[0, 0, 0]")
            assert hold > now  # or else the tab at the other worker would be known again
            assert workers.canceled == 0


@pytest.mark.slow
async def test_a_restarted_redis_waits_for_a_worker_far_away(
    tmp_path: Path, workers: Workers, key: str
) -> None:
    way = [Latency(0.2)]
    with RedisServer(tmp_path) as store:
        near = await workers.start(store.url, lease=12)
        async with (
            FaultProxy(store.port, upstream=way, downstream=way) as proxy,
            connected(store) as redis,
        ):
            far = await workers.start(f"redis://127.0.0.1:{proxy.port}", lease=12)
            async with tab(far):
                await until_streamed_by(store, key, 1)
                lease = await redis.hget(f"{{{key}}}:viewers:leases", "p")
                async with asyncio.timeout(HANG):
                    while await redis.hget(f"{{{key}}}:viewers:leases", "p") == lease:  # noqa: ASYNC110 - Redis signals nothing
                        await asyncio.sleep(0.005)
                store.kill()  # the next renewal is as late as it can be
                store.start()
                async with workers.service.client() as client:
                    near.track(await client.predictions.get("p"))
                await workers.pass_grace_period(near)
                assert workers.canceled == 0
            await until(lambda: workers.canceled)


@pytest.mark.slow
async def test_a_redis_that_stands_still_ends_no_lease(
    tmp_path: Path, workers: Workers, key: str
) -> None:
    gate = Gate()
    with RedisServer(tmp_path) as store:
        one = await workers.start(store.url, lease=4)
        async with FaultProxy(store.port, upstream=[gate]) as proxy:
            late = await workers.start(f"redis://127.0.0.1:{proxy.port}", lease=4)
            async with tab(late):
                async with tab(one):
                    await until_streamed_by(store, key, 2)
                    store.freeze()
                    gate.open.clear()
                await asyncio.sleep(5)  # longer than the lease
                store.thaw()
                await until_streamed_by(store, key, 1)
                await asyncio.sleep(0.2)  # longer than the grace period
                gate.open.set()
                await workers.pass_grace_period(one)
                assert workers.canceled == 0
            await until(lambda: workers.canceled)


@pytest.mark.slow
async def test_a_call_that_reaches_redis_late_ends_no_lease(
    store: RedisServer, workers: Workers, key: str
) -> None:
    gate = Gate()
    other = await workers.start(store.url)
    async with FaultProxy(store.port, upstream=[gate]) as proxy:
        far = await workers.start(f"redis://127.0.0.1:{proxy.port}", lease=60)
        async with tab(far):
            await until_streamed_by(store, key, 1)
            gate.open.clear()
        await until(lambda: gate.held)  # that the tab is gone
        proxy.upstream = []
        async with tab(far):
            await until(lambda: proxy.accepted > 1)  # the call is given up, and the next one sent
            await workers.pass_grace_period(far)
            gate.open.set()
            await asyncio.sleep(0.5)
            await workers.pass_grace_period(other)
            assert workers.canceled == 0


async def test_a_change_that_redis_did_not_take_is_sent_again(
    tmp_path: Path, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(tmp_path) as store:
        viewers = await workers.start(store.url)
        async with workers.service.client() as client:
            prediction = await client.predictions.get("p")
        await workers.pass_grace_period(viewers)
        store.kill()
        viewers.track(prediction)  # the next call has it, and fails
        await until(lambda: "Redis does not answer" in caplog.text)
        store.start()
        await until(lambda: workers.canceled)


async def test_without_redis_a_stream_goes_on_and_nothing_is_cancelled(workers: Workers) -> None:
    words = ["Hello", " you"]
    workers.service.runs["p"] = Run(output(words))
    viewers = await workers.start(f"redis://127.0.0.1:{free_port()}")
    async with tab(viewers):
        pass
    async with viewers.stream("p") as stream:
        assert "".join([str(event) async for event in stream]) == "Hello you"
    await viewers.aclose()
    assert workers.canceled == 0


async def test_closing_cancels_after_the_grace_period(
    store: RedisServer, workers: Workers, key: str
) -> None:
    viewers = await workers.start(store.url)
    await workers.pass_grace_period(viewers)
    async with tab(viewers):
        await until_streamed_by(store, key, 1)
    await viewers.aclose()
    assert workers.canceled == 1


async def test_closing_leaves_a_run_to_the_viewers_of_another_worker(
    store: RedisServer, workers: Workers, key: str
) -> None:
    one, other = await workers.start(store.url), await workers.start(store.url)
    async with tab(other):
        stream = one.stream("p")
        await stream.__aenter__()
        await until_streamed_by(store, key, 2)
        await one.aclose()
        await until_streamed_by(store, key, 1)
        await workers.pass_grace_period(other)
        assert workers.canceled == 0
        await stream.aclose()


async def test_a_run_whose_end_was_seen_is_forgotten(
    store: RedisServer, workers: Workers, key: str
) -> None:
    workers.service.runs["p"] = Run(output(["Hello"]))
    viewers = await workers.start(store.url)
    async with viewers.stream("p") as stream:
        await until_streamed_by(store, key, 1)
        assert [event async for event in stream]
    await workers.pass_grace_period(viewers)
    await viewers.aclose()
    assert workers.canceled == 0
    async with connected(store) as client:
        assert await client.zcard(f"{{{key}}}:viewers") == 0
        assert await client.hkeys(f"{{{key}}}:viewers:leases") == [""]


@pytest.mark.slow
async def test_a_cancel_that_fails_is_tried_again_by_another_worker(
    store: RedisServer, workers: Workers
) -> None:
    run = workers.service.runs["p"]
    run.cancels = problem(503)
    one = await workers.start(store.url)
    async with tab(one):
        pass
    await until(lambda: run.canceled)
    await one.aclose()
    tries, run.cancels = run.canceled, None
    await workers.start(store.url)
    await until(lambda: run.canceled > tries)


async def test_keys_have_one_hash_tag_and_no_token(
    store: RedisServer, workers: Workers, key: str
) -> None:
    viewers = await workers.start(store.url)
    async with tab(viewers), connected(store) as client:
        await until_streamed_by(store, key, 1)
        keys = [each async for each in client.scan_iter(f"*{key}*")]
        assert sorted(keys) == [f"{{{key}}}:viewers", f"{{{key}}}:viewers:leases"]
        assert all([0 < await client.pttl(each) <= 86_400_000 for each in keys])
        kept = [await client.zrange(keys[0], 0, -1)] if "leases" not in keys[0] else []
        assert TOKEN not in str([keys, kept, await client.hgetall(f"{{{key}}}:viewers:leases")])


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
async def test_closing_that_is_cancelled_closes_the_connections(
    store: RedisServer, workers: Workers, steps: int
) -> None:
    async with workers.service.client() as client, connected(store) as other:
        viewers = RedisViewers(client, f"{store.url}?client_name=closing")
        async with viewers.stream("p"):
            await until_named(other, "closing", 1)
        closing = asyncio.create_task(viewers.aclose())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})

        await until_named(other, "closing", 0)


@pytest.mark.parametrize(
    ("grace_period", "lease"),
    [(3, 0), (-1, 30), (math.nan, 30), (3, 1e300), (1e6, 30), ("3", 30), (3, None)],
)
def test_times_out_of_range_are_refused(grace_period: Any, lease: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a number of seconds from 0"):
        RedisViewers(Replicate(TOKEN), "redis://localhost", grace_period=grace_period, lease=lease)
