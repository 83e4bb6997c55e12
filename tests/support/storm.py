"""Tasks that send through a bucket to a server with a limit, in virtual time."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from itertools import count

from replicate_async.core.bucket import TokenBucket
from replicate_async.core.retry import Failure, Retry, RetryBudget


@dataclass
class Sleep:
    seconds: float

    def __await__(self) -> Generator[float, None, None]:
        yield self.seconds


@dataclass
class World:
    """Virtual time: coroutines that only sleep, woken in the order of their times."""

    now: float = 1000.0
    heap: list[tuple[float, int, Coroutine[float, None, None]]] = field(
        default_factory=list[tuple[float, int, Coroutine[float, None, None]]]
    )
    ids: count[int] = field(default_factory=count)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> Awaitable[None]:
        return Sleep(seconds)

    def spawn(self, task: Coroutine[float, None, None], at: float = 0.0) -> None:
        heapq.heappush(self.heap, (self.now + at, next(self.ids), task))

    def run(self, seconds: float = math.inf) -> None:
        end = self.now + seconds
        while self.heap and self.heap[0][0] <= end:
            self.now, _, task = heapq.heappop(self.heap)
            try:
                wait = task.send(None)
            except StopIteration:
                continue
            heapq.heappush(self.heap, (self.now + wait, next(self.ids), task))
        for _, _, task in self.heap:
            task.close()
        self.heap.clear()


@dataclass
class Server:
    """A token bucket that answers as the API does."""

    world: World
    rate: float
    burst: float
    headers: bool = False
    whole_seconds: bool = True
    named: tuple[float, int] | None = None
    """The requests a minute and the burst that a 429 tells of."""
    accepted: list[float] = field(default_factory=list[float])
    rejected: list[float] = field(default_factory=list[float])
    tokens: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.burst
        self.at = self.world.now

    def answer(self) -> float | None:
        """Return the wait of a 429, or None for a success."""
        now = self.world.now
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            self.accepted.append(now)
            return None
        self.rejected.append(now)
        wait = (1 - self.tokens) / self.rate
        return float(math.ceil(wait)) if self.whole_seconds else wait


@dataclass
class Storm:
    """Tasks that send one request after another through one bucket."""

    server: Server
    bucket: TokenBucket
    draw: Callable[[], float] = field(default_factory=lambda: random.Random(1).random)
    budget: RetryBudget = field(default_factory=lambda: RetryBudget(500))
    waits: list[float] = field(default_factory=list[float])
    answered_at: list[float] = field(default_factory=list[float])
    jitter: float = 0.03
    given_up: int = 0

    async def task(self) -> None:
        while True:
            await self.call()

    async def call(self) -> None:
        world = self.server.world
        started = world.now
        paid: Failure | None = None
        for attempt in count(1):
            if attempt == 1:
                wait, place = self.bucket.reserve(world.now), self.bucket.place
            else:
                place, wait = self.bucket.reserve_front(world.now)
            if wait > 0:
                await self.bucket.turn(place, world.clock, world.sleep)
            await world.sleep(0.01 + self.jitter * self.draw())
            asked = self.server.answer()
            remaining = int(self.server.tokens) if self.server.headers else None
            await world.sleep(0.01 + self.jitter * self.draw())
            if asked is None:
                self.bucket.observed(world.now, remaining, 1.0)
                self.budget.refund(paid)
                self.waits.append(world.now - started)
                self.answered_at.append(world.now)
                return
            self.bucket.throttled(world.now, asked, *(self.server.named or (None, None)))
            failure = Failure("refused", retry_after=asked, throttled=True)
            delay = Retry().delay(attempt, failure, repeatable=False, jitter=self.draw())
            if delay is None or not self.budget.spend(failure):
                self.given_up += 1
                return
            paid = failure
            await world.sleep(delay)


def storm(
    server: Server,
    bucket: TokenBucket,
    *,
    tasks: int = 500,
    seconds: float = 60,
    jitter: float = 0.03,
) -> Storm:
    """Run *tasks* for so many *seconds*; a request is under way for 10 ms and up to *jitter*."""
    weather = Storm(server, bucket, jitter=jitter)
    for _ in range(tasks):
        server.world.spawn(weather.task())
    server.world.run(seconds)
    return weather
