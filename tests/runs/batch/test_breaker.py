"""The circuit breaker, with a clock of its own."""

from __future__ import annotations

import asyncio

import pytest

from replicate_async.runs.batch.breaker import CircuitBreaker

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that sleeping alone moves on."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_an_open_breaker_lets_one_probe_leave_at_growing_intervals() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock, clock.sleep, 100.0)
    for _ in range(4):
        async with breaker.attempt():
            breaker.failed()
    assert not breaker.is_open
    for _ in range(20):  # all that were under way
        breaker.failed()
    for _ in range(8):
        async with breaker.attempt():
            breaker.failed()
    assert clock.slept == [1, 2, 4, 8, 16, 32, 60, 60]
    assert breaker.gave_up

    async def second() -> bool:
        async with breaker.attempt():
            return breaker.is_open

    async with breaker.attempt():
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        assert not waiting.done()
        breaker.succeeded()
    assert await waiting is False
    assert len(clock.slept) == 9
    assert not breaker.gave_up


async def test_creates_that_fail_beside_a_probe_do_not_make_the_pause_longer() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock, clock.sleep, 100.0)
    for _ in range(5):
        breaker.failed()
    for _ in range(3):
        async with breaker.attempt():
            for _ in range(4):
                breaker.failed()
    assert clock.slept == [1, 2, 4]


async def test_a_cancelled_probe_lets_the_next_one_leave() -> None:
    breaker = CircuitBreaker(lambda: 0.0, asyncio.sleep, 100.0)
    for _ in range(5):
        breaker.failed()

    async def probe() -> None:
        async with breaker.attempt():
            pass

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0)
    probing.cancel()
    await asyncio.wait({probing})
    breaker.succeeded()
    await probe()


async def test_creates_go_one_at_a_time_until_one_has_succeeded() -> None:
    breaker = CircuitBreaker(lambda: 0.0, asyncio.sleep, 100.0)
    under_way = most = 0

    async def create(number: int) -> None:
        nonlocal under_way, most
        async with breaker.attempt():
            under_way += 1
            most = max(most, under_way)
            for _ in range(20):
                await asyncio.sleep(0)
            under_way -= 1
            if number == 2:
                assert most == 1
                breaker.succeeded()
            elif number < 2:
                breaker.failed()

    await asyncio.gather(*map(create, range(9)))
    assert most == 6
