from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from replicate_async import InvalidArgumentError, Limits, RateLimitError, Replicate, Retry
from replicate_async.context import context_of
from replicate_async.core.limits import BucketName
from replicate_async.errors import LimiterError
from tests.support.embedded import until
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction, problem
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

LITTLE_CREDIT = (
    "Request was throttled. Your rate limit for creating predictions is reduced to 600 requests "
    "per minute with a burst of 1 requests while you have less than $5.0 in credit. Your rate "
    "limit resets in ~0.3s."
)


class Recorder:
    """Answers with *refusals* first and well ever after, and knows when each request came."""

    def __init__(self, *refusals: Answer) -> None:
        self.refusals = list(refusals)
        self.times: list[float] = []
        self.first = asyncio.Event()

    def __call__(self, _request: Request) -> Answer:
        self.times.append(time.monotonic())
        self.first.set()
        return self.refusals.pop(0) if self.refusals else well()


def well() -> Answer:
    return json_answer(prediction("http://localhost"), 201)


def client_of(server: FaultServer, **options: Any) -> Replicate:
    return Replicate(TOKEN, base_url=server.url, retry=Retry(throttle_base=0), **options)


def create_delay(client: Replicate) -> float:
    return context_of(client).sender.rate_limiters.buckets["create"].delay(monotonic())


async def create(client: Replicate, number: int = 1) -> None:
    await asyncio.gather(
        *(client.predictions.create("replicate/hello-world", {"text": "a"}) for _ in range(number))
    )


async def test_a_refusal_holds_back_every_task() -> None:
    seen = Recorder(problem(429, Retry_After="0.3"))
    async with FaultServer(seen) as server, client_of(server) as client:
        refused = asyncio.create_task(create(client))
        # On a machine that stood still, the refusal may be over.
        await until(lambda: create_delay(client) > 0 or len(seen.times) > 1)
        await create(client, 5)
        await refused

    assert len(seen.times) == 7
    assert min(seen.times[1:]) - seen.times[0] >= 0.3


async def test_a_rate_that_a_refusal_names_is_gone_at() -> None:
    seen = Recorder(problem(429, LITTLE_CREDIT))
    async with FaultServer(seen) as server, client_of(server) as client:
        await create(client)
        await create(client, 4)

    assert len(seen.times) == 6
    assert seen.times[1] - seen.times[0] >= 0.3
    # Not from the second on: a busy machine may bring together what left apart.
    assert seen.times[5] - seen.times[0] >= 0.3 + 0.4


async def test_a_copy_is_held_back_by_what_another_was_told() -> None:
    seen = Recorder(problem(429, Retry_After="0.3"))
    async with FaultServer(seen) as server, client_of(server) as client:
        copies = [client.with_options(timeout=5), client.with_options(api_token=TOKEN)]
        with pytest.raises(RateLimitError):
            await create(client.with_options(retry=Retry(attempts=1)))
        await asyncio.gather(*(create(copy) for copy in copies))

    assert len(seen.times) == 3
    assert seen.times[1] - seen.times[0] >= 0.3


def with_another_token(client: Replicate) -> Replicate:
    return client.with_options(api_token="r8_other")


def with_other_limits(client: Replicate) -> Replicate:
    return client.with_options(limits=Limits())


@pytest.mark.parametrize("other", [with_another_token, with_other_limits])
async def test_a_copy_for_another_account_is_not_held_back(
    other: Callable[[Replicate], Replicate],
) -> None:
    seen = Recorder(problem(429, Retry_After="50"))
    async with FaultServer(seen) as server, client_of(server) as client:
        with pytest.raises(RateLimitError):
            await create(client.with_options(retry=Retry(attempts=1)))
        assert create_delay(client) > 0
        assert create_delay(other(client)) == 0
        await create(other(client))

    assert len(seen.times) == 2


async def test_a_limit_that_is_known_is_used_without_a_refusal() -> None:
    # More of a burst than is used, and no bound: a slow machine brings together what left apart.
    tokens, filled = 60.0, time.monotonic()
    refused = 0

    def bucket(_request: Request) -> Answer:
        nonlocal tokens, filled, refused
        now = time.monotonic()
        tokens, filled = tokens + (now - filled) * 100, now
        if tokens < 1:
            refused += 1
            return problem(429, Retry_After="1")
        tokens -= 1
        return well()

    limits = Limits(creates=100 * 60, burst=20)
    async with FaultServer(bucket) as server, client_of(server, limits=limits) as client:
        await create(client, 90)

    assert refused == 0


class Turns:
    """A limiter that counts, and may refuse."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.taken: list[str] = []
        self.told: list[tuple[str, float, float | None]] = []

    async def acquire(self, kind: BucketName) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise LimiterError("There is no permit.")
        self.taken.append(kind)

    def on_rate_limited(
        self, kind: BucketName, seconds: float, per_minute: float | None = None
    ) -> None:
        self.told.append((kind, seconds, per_minute))


async def test_a_limiter_is_asked_for_every_request_and_told_of_every_refusal() -> None:
    turns = Turns()
    seen = Recorder(problem(429), problem(429, LITTLE_CREDIT))
    async with FaultServer(seen) as server, client_of(server, limiter=turns) as client:
        await create(client)
        await client.predictions.get("abc")
        await client.predictions.cancel("abc")

    assert turns.taken == ["create", "create", "create", "get", "other"]
    assert turns.told == [("create", 0, None), ("create", 0.3, 600)]


async def test_without_a_permit_nothing_is_sent() -> None:
    seen = Recorder()
    async with (
        FaultServer(seen) as server,
        client_of(server) as client,
    ):
        broken = client.with_options(limiter=Turns(broken=True))
        with pytest.raises(LimiterError, match="no permit"):
            await create(broken)
        assert seen.times == []
        await create(client)


@pytest.mark.parametrize("given", [object(), Limits(), 7])
def test_what_is_no_limiter_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"limiter=.* has no acquire\(\)"):
        Replicate(TOKEN, limiter=given)
