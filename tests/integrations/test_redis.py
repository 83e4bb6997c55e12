from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import pytest

from replicate_async import (
    Batch,
    BatchResult,
    ClientStateError,
    InvalidArgumentError,
    Limits,
    RateLimitError,
    Replicate,
    Retry,
)
from replicate_async.errors import LimiterError
from tests.runs.batch.api import MODEL, QUICK, BatchAPI, client_of, item
from tests.support.embedded import until
from tests.support.fault_proxy import FaultProxy, Gate, Latency
from tests.support.fault_server import FaultServer
from tests.support.redis_server import PROGRAM as SERVER
from tests.support.redis_server import RedisServer
from tests.support.replies import json_answer, prediction, problem
from tests.support.wire import Answer

pytest.importorskip("redis", reason="the integrations session installs it")

from redis.asyncio import Redis

from replicate_async.integrations.redis import RedisLimiter
from tests.integrations.viewers_state import connected, until_named

PROGRAM: Final = Path(__file__).with_name("redis_process.py")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(SERVER is None, reason="needs redis-server, which .ci/run installs"),
]


async def times(limiter: RedisLimiter, number: int) -> list[float]:
    """Ask for permits at once; return after how many seconds each came, in their order."""
    began = time.monotonic()

    async def take() -> float:
        await limiter.acquire("create")
        return time.monotonic() - began

    return await asyncio.gather(*(take() for _ in range(number)))


async def collect(batch: Batch[Any]) -> list[BatchResult[Any]]:
    return [result async for result in batch]


async def until_told(store: RedisServer, key: str) -> None:
    """Wait until Redis knows of a pause."""
    client: Redis = cast("Any", Redis).from_url(store.url)
    while not await client.hexists(f"{key}:create", "pause"):  # noqa: ASYNC110 - Redis signals nothing
        await asyncio.sleep(0.002)
    await client.aclose()


async def test_permits_come_at_the_rate_and_in_order(store: RedisServer, key: str) -> None:
    limits = Limits(creates=6_000, burst=5)
    async with RedisLimiter(store.url, limits=limits, key=key) as limiter:
        waits = await times(limiter, 25)
    assert waits == sorted(waits)
    # Five at once, and then one every 10.3 ms.
    assert waits[-1] >= 20 * 0.0103 - 0.01


async def test_two_limiters_share_what_is_allowed(store: RedisServer, key: str) -> None:
    limits = Limits(creates=6_000, burst=1)
    async with (
        RedisLimiter(store.url, limits=limits, key=key) as one,
        RedisLimiter(store.url, limits=limits, key=key) as other,
    ):
        first, second = await asyncio.gather(times(one, 15), times(other, 15))
    moments = sorted([*first, *second])
    assert moments[-1] >= 29 * 0.0103 - 0.01


async def test_the_kinds_and_the_keys_do_not_share(store: RedisServer, key: str) -> None:
    limits = Limits(creates=1, gets=1, others=1)
    async with (
        RedisLimiter(store.url, limits=limits, key=key) as one,
        RedisLimiter(store.url, limits=limits, key=f"{key}2") as other,
    ):
        for limiter in (one, other):
            # Each is the first of its kind; a second would come after a minute.
            async with asyncio.timeout(30):
                await limiter.acquire("create")
                await limiter.acquire("get")
                await limiter.acquire("other")


async def test_a_limit_that_is_lifted_needs_no_redis() -> None:
    async with RedisLimiter("unix:///nowhere", limits=Limits(enabled=False)) as limiter:
        await limiter.acquire("create")
        limiter.on_rate_limited("create", 30.0)
        await limiter.acquire("create")


async def test_a_pause_holds_back_every_process(store: RedisServer, key: str) -> None:
    limits = Limits(creates=60_000)
    async with (
        RedisLimiter(store.url, limits=limits, key=key) as one,
        RedisLimiter(store.url, limits=limits, key=key) as other,
    ):
        await asyncio.gather(one.acquire("create"), other.acquire("create"))
        began = time.monotonic()
        one.on_rate_limited("create", 0.4)
        await until_told(store, key)
        await other.acquire("create")
        assert time.monotonic() - began >= 0.35
        await one.acquire("create")
        assert time.monotonic() - began >= 0.35


async def test_a_pause_drops_the_permits_that_were_fetched_ahead(
    store: RedisServer, key: str
) -> None:
    # The first of them is due in 2 s: the pause comes before that on a slow machine too.
    limits = Limits(creates=30, burst=1)
    async with RedisLimiter(store.url, limits=limits, key=key) as limiter:
        await limiter.acquire("create")
        waiting = asyncio.create_task(times(limiter, 1))
        await asyncio.sleep(0.1)
        limiter.on_rate_limited("create", 3.0)
        waits = await waiting
    assert waits[0] >= 3.0


async def test_a_rate_that_is_named_holds_for_every_process(store: RedisServer, key: str) -> None:
    limits = Limits(creates=60_000)
    async with (
        RedisLimiter(store.url, limits=limits, key=key) as one,
        RedisLimiter(store.url, limits=limits, key=key) as other,
    ):
        one.on_rate_limited("create", 0.0, 600)
        await until_told(store, key)
        waits = await times(other, 4)
    assert waits[-1] >= 3 * 0.1 - 0.01


async def test_a_refusal_without_a_rate_makes_all_a_little_slower(
    store: RedisServer, key: str
) -> None:
    limits = Limits(creates=6_000, burst=1)
    async with RedisLimiter(store.url, limits=limits, key=key) as limiter:
        began = time.monotonic()
        for _ in range(3):  # of one storm
            limiter.on_rate_limited("create", 0.25)
        await times(limiter, 11)
    assert time.monotonic() - began >= 0.25 + 10 * 0.0103 * 1.15 - 0.01
    client: Redis = cast("Any", Redis).from_url(store.url)
    assert int((await client.hgetall(f"{key}:create"))[b"interval"]) == pytest.approx(11856, abs=2)
    assert 60_000 < await client.pttl(f"{key}:create") < 125_000
    await client.aclose()


async def test_a_permit_of_a_cancelled_task_goes_to_the_next(store: RedisServer, key: str) -> None:
    limits = Limits(creates=20, burst=1)
    async with RedisLimiter(store.url, limits=limits, key=key) as limiter:
        await limiter.acquire("create")
        tasks = [asyncio.create_task(limiter.acquire("create")) for _ in range(3)]
        await asyncio.sleep(0.02)
        tasks[0].cancel()
        # In 3 s, with the permit of the first, and not in 6 with its own.
        async with asyncio.timeout(5.5):
            await tasks[1]
        tasks[2].cancel()
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()
        assert tasks[2].cancelled()


async def test_a_task_that_is_cancelled_with_its_permit_passes_it_on(
    store: RedisServer, key: str
) -> None:
    limits = Limits(creates=2, burst=2)
    async with RedisLimiter(store.url, limits=limits, key=key) as limiter:
        first = asyncio.create_task(limiter.acquire("create"))
        second = asyncio.create_task(limiter.acquire("create"))
        third = asyncio.create_task(limiter.acquire("create"))
        await first
        second.cancel()
        await asyncio.wait([second])
        # At once, with the permit of the second, and not in half a minute.
        async with asyncio.timeout(25):
            await third


async def test_without_redis_nothing_is_sent(tmp_path: Path) -> None:
    async with (
        FaultServer(lambda _: json_answer(prediction("http://x"))) as server,
        RedisLimiter(f"unix://:secret@{tmp_path}/none", outage_timeout=0.1) as limiter,
        Replicate("token", base_url=server.url, limiter=limiter) as client,
    ):
        results = await asyncio.gather(
            *(client.predictions.get("abc") for _ in range(3)), return_exceptions=True
        )
        limiter.on_rate_limited("get", 0.0)
    assert [type(result) for result in results] == [LimiterError] * 3
    assert "Nothing was sent" in str(results[0])
    assert "secret" not in str(results[0])
    assert server.requests == []


async def test_a_silence_of_redis_is_waited_for(store: RedisServer, key: str) -> None:
    limits = Limits(creates=6_000)
    client: Redis = cast("Any", Redis).from_url(store.url, socket_timeout=0.1)
    async with RedisLimiter(client, limits=limits, key=key, outage_timeout=8) as limiter:
        await limiter.acquire("create")
        store.freeze()
        waiting = asyncio.create_task(limiter.acquire("create"))
        await asyncio.sleep(0.15)
        assert not waiting.done()
        store.thaw()
        await waiting
    await client.aclose()  # it was given, and is open still


async def test_a_distant_redis_is_asked_again_before_it_answers(
    store: RedisServer, key: str
) -> None:
    gate = Gate()
    async with (
        FaultProxy(store.port, upstream=[Latency(0.15)], downstream=[Latency(0.15), gate]) as proxy,
        RedisLimiter(f"redis://127.0.0.1:{proxy.port}", key=key) as limiter,
    ):
        for _ in range(2):  # the trip is known then
            await limiter.acquire("create")
        gate.open.clear()
        waiting = asyncio.create_task(times(limiter, 30))
        await until(lambda: gate.held >= 3)
        await asyncio.sleep(0.5)
        # 5 for the trip of 0.3 s; on a machine that stood still, those of the longest, a second.
        assert gate.held <= 14
        gate.open.set()
        await waiting


@pytest.mark.slow
async def test_a_near_and_a_distant_process_get_equal_shares(store: RedisServer, key: str) -> None:
    counts = [0, 0]

    async def take(limiter: RedisLimiter, number: int) -> None:
        while True:
            await limiter.acquire("create")
            counts[number] += 1

    async with AsyncExitStack() as stack:
        tasks: list[asyncio.Task[None]] = []
        for number, seconds in enumerate((0.0005, 0.15)):
            way = [Latency(seconds)]
            proxy = FaultProxy(store.port, upstream=way, downstream=way)
            await stack.enter_async_context(proxy)
            limiter = RedisLimiter(
                f"redis://127.0.0.1:{proxy.port}", limits=Limits(creates=1200, burst=1), key=key
            )
            await stack.enter_async_context(limiter)
            tasks += [asyncio.create_task(take(limiter, number)) for _ in range(30)]
        await until(lambda: min(counts) >= 30)
        before = list(counts)
        await until(lambda: sum(counts) >= sum(before) + 120)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    near, distant = (count - start for count, start in zip(counts, before, strict=True))
    assert 0.35 <= near / (near + distant) <= 0.65


async def test_a_restarted_redis_gives_no_second_burst(store: RedisServer, key: str) -> None:
    limits = Limits(creates=60, burst=10)
    client: Redis = cast("Any", Redis).from_url(store.url)
    async with RedisLimiter(client, limits=limits, key=key) as limiter:
        began = time.monotonic()
        await times(limiter, 10)
        await client.delete(f"{key}:create")
        await limiter.acquire("create")
        # One in 1.03 s.
        assert time.monotonic() - began >= 0.9
    await client.aclose()


async def ten_tries(proxy: FaultProxy) -> None:
    last = proxy.accepted + 10
    await until(lambda: proxy.accepted >= last)


@pytest.mark.parametrize("outage", ["silent", "restarted"])
async def test_an_outage_of_redis_costs_a_batch_no_item(
    tmp_path: Path, key: str, outage: str
) -> None:
    api = BatchAPI(seconds=0.05)
    out = asyncio.Event()

    async def inputs() -> AsyncIterator[dict[str, Any]]:
        for index in range(60):
            if index == 30:
                await out.wait()  # on a slow machine, all may be created before the outage
            yield item(index)

    with RedisServer(tmp_path) as store:
        async with (
            api.server() as server,
            FaultProxy(store.port) as proxy,
            client_of(server.url) as plain,
        ):
            client: Redis = cast("Any", Redis).from_url(
                f"redis://127.0.0.1:{proxy.port}", socket_timeout=0.2, retry=None
            )
            limits = Limits(creates=6_000, burst=1)
            async with RedisLimiter(client, limits=limits, key=key) as limiter:
                batch = plain.with_options(limiter=limiter).batch(
                    MODEL, inputs(), journal=tmp_path / "batch.db", poll=QUICK
                )
                collecting = asyncio.create_task(collect(batch))
                await until(lambda: len(api.made) >= 20)
                store.freeze() if outage == "silent" else store.kill()
                out.set()
                created = -1
                while created != len(api.made):  # until the permits in hand are used up
                    created = len(api.made)
                    await ten_tries(proxy)
                assert created < 60
                store.thaw() if outage == "silent" else store.start()
                results = await collecting
            await client.aclose()
    assert [result.error for result in results] == [None] * 60
    assert (len(api.made), api.twice()) == (60, [])
    assert not any(made.canceled for made in api.made)


async def test_an_error_that_lasts_is_raised_at_once(store: RedisServer, key: str) -> None:
    client: Redis = cast("Any", Redis).from_url(store.url)
    await client.set(f"{key}:create", "text")
    async with RedisLimiter(client, key=key, outage_timeout=60) as limiter:
        with pytest.raises(LimiterError, match="ResponseError: WRONGTYPE"):
            await limiter.acquire("create")
    await client.aclose()


async def test_waiting_requests_fail_when_it_is_closed(store: RedisServer, key: str) -> None:
    limiter = RedisLimiter(store.url, limits=Limits(creates=1), key=key)
    await limiter.acquire("create")
    waiting = asyncio.create_task(limiter.acquire("create"))
    await asyncio.sleep(0.05)
    await limiter.aclose()
    with pytest.raises(LimiterError, match="closed"):
        await waiting
    with pytest.raises(ClientStateError, match="closed"):
        await limiter.acquire("create")
    limiter.on_rate_limited("create", 1.0)


async def test_closing_that_is_cancelled_closes_the_connections(
    store: RedisServer, key: str
) -> None:
    limiter = RedisLimiter(f"{store.url}?client_name=closing", key=key)
    async with connected(store) as other:
        await limiter.acquire("create")
        limiter.on_rate_limited("create", 0.0)
        closing = asyncio.create_task(limiter.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})

        assert closing.cancelled()
        await until_named(other, "closing", 0)


def test_one_limiter_is_not_for_two_event_loops(store: RedisServer, key: str) -> None:
    client: Redis = cast("Any", Redis).from_url(store.url)
    limiter = RedisLimiter(client, limits=Limits(creates=600), key=key)

    async def once() -> None:
        await limiter.acquire("create")
        await client.aclose()

    asyncio.run(once())
    with pytest.raises(ClientStateError, match="another event loop"):
        asyncio.run(limiter.acquire("create"))


async def test_a_client_goes_by_the_limiter(store: RedisServer, key: str) -> None:
    low = problem(429, "reduced to 600 requests per minute with a burst of 1", Retry_After="0")
    answers = [low]

    def answer(_request: object) -> Answer:
        return answers.pop() if answers else json_answer(prediction("http://x"))

    async with (
        FaultServer(answer) as server,
        RedisLimiter(store.url, limits=Limits(gets=6_000), key=key) as limiter,
        Replicate("token", base_url=server.url, limiter=limiter) as client,
    ):
        began = time.monotonic()
        with pytest.raises(RateLimitError):
            await client.with_options(retry=Retry(attempts=1)).predictions.get("abc")
        await asyncio.gather(*(client.predictions.get("abc") for _ in range(4)))
        # A quarter of a second for a pause of nothing, and three times a tenth.
        assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("given", ["", "http://localhost", "redis://localhost:x", 7])
def test_a_value_that_is_no_redis_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"needs a URL with redis:"):
        RedisLimiter(given)


def test_an_outage_timeout_below_0_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="outage_timeout=-1"):
        RedisLimiter("redis://localhost", outage_timeout=-1)


def test_it_shows_its_limits_and_no_password() -> None:
    limiter = RedisLimiter("redis://:secret@localhost", limits=Limits(creates=600))
    assert repr(limiter) == "<RedisLimiter create 600, get 60000, other 3000 a minute>"


async def round_trips(store: RedisServer) -> int:
    client: Any = cast("Any", Redis).from_url(store.url)
    stats = await client.info("commandstats")
    await client.aclose()
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


@pytest.mark.slow
async def test_three_processes_share_two_hundred_a_second(store: RedisServer) -> None:
    per_minute, seconds, tasks = 200 * 60 / 0.97, 3.0, 50
    before = await round_trips(store)
    begin = time.time() + 3.0
    arguments = [store.url, str(per_minute), str(begin), str(seconds), str(tasks)]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), *arguments, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    outputs = [await process.communicate() for process in processes]
    granted: list[list[float]] = [json.loads(output) for output, _ in outputs]
    counts = [len(moments) for moments in granted]
    moments = sorted(moment for moments in granted for moment in moments)
    rate = (len(moments) - 1) / (moments[-1] - moments[0])
    trips = (await round_trips(store) - before) / len(moments)
    print(f"{rate:.1f} a second, {trips:.2f} round trips each, shares {counts}")
    assert rate <= 204
    assert trips <= 1.05
    assert min(counts) > 0
    # Permits come evenly: no hundred in much less than half a second.
    gaps = [later - earlier for earlier, later in pairwise(moments[::100])]
    assert min(gaps) >= 0.3
