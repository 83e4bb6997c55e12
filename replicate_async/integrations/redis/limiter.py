"""One rate limit for all processes that use the same Redis.

    async with RedisLimiter("redis://localhost") as limiter, Replicate(limiter=limiter) as client:
        ...

The state is one small hash for each kind of request. A script hands out permits by the generic
cell rate algorithm, and by the clock of Redis, which all processes share.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Self, cast

from redis import exceptions
from redis.asyncio import Redis

from replicate_async.core.backoff import backoff
from replicate_async.core.endpoint import shorten
from replicate_async.core.limits import Allowance, BucketName, Limits, allowance
from replicate_async.core.numbers import is_number
from replicate_async.core.rate_estimator import RESERVE
from replicate_async.errors import ClientStateError, InvalidArgumentError, LimiterError
from replicate_async.integrations.redis.connection import ANSWER, Script, connect, load_script
from replicate_async.integrations.redis.fetch_ahead import FetchAhead, fetch_size

_log = logging.getLogger("replicate_async")

# Times are in microseconds since 1970, which a double holds exactly. A restarted Redis has no
# state: then a process goes on an interval after its own last permit, without a whole new burst.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'due', 'pause', 'interval', 'slow')
local interval, depth = tonumber(ARGV[1]), tonumber(ARGV[2])
local slow = tonumber(state[4] or 0)
if not state[1] then
    depth = math.min(depth, tonumber(ARGV[4]))
end
if slow > now then
    interval, depth = math.max(interval, tonumber(state[3])), math.min(depth, 0)
end
local due = math.max(tonumber(state[1] or 0), now - depth, tonumber(state[2] or 0))
local after = due + tonumber(ARGV[3]) * interval
redis.call('HSET', KEYS[1], 'due', string.format('%.0f', after))
redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(after, slow) - now) / 1000) + 60000)
return {string.format('%.0f', due - now), string.format('%.0f', interval)}
"""

_SLOW_DOWN: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'due', 'pause', 'interval', 'slow')
local paused, slow = tonumber(state[2] or 0), tonumber(state[4] or 0)
local pause = math.max(paused, now + tonumber(ARGV[1]))
local interval = slow > now and tonumber(state[3]) or tonumber(ARGV[2])
if tonumber(ARGV[3]) > 0 then
    interval, slow = tonumber(ARGV[3]), now + tonumber(ARGV[4])
elseif now > paused then
    interval, slow = math.min(interval * 1.15, 3600000000), math.max(slow, now + tonumber(ARGV[5]))
end
redis.call('HSET', KEYS[1], 'pause', string.format('%.0f', pause),
    'interval', string.format('%.0f', interval), 'slow', string.format('%.0f', slow))
local last = math.max(tonumber(state[1] or 0), pause, slow)
redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) / 1000) + 60000)
"""

_US: Final = 1e6
"""Microseconds a second."""
_NAMED_FOR: Final = 600 * _US
"""How long a rate holds that a 429 named."""
_SLOWER_FOR: Final = 60 * _US
"""How long the pace is slower after a 429 that named no rate."""
_SHORTEST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 60.0

_FIRST_RETRY: Final = 0.05
_LAST_RETRY: Final = 1.0
_TRANSIENT: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)
_REFUSED: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError)
_TRANSIENT_REPLIES: Final = ("BUSY ", "MISCONF ")
"""Errors of an overloaded Redis or of its full disk, for which redis-py has no classes."""


@dataclass(slots=True)
class _PermitQueue:
    """The waiters of this process for one kind of permit, and the fetches for them."""

    key: str
    allowed: Allowance
    waiters: deque[asyncio.Future[None]] = field(default_factory=deque[asyncio.Future[None]])
    fetches: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    expected: int = 0
    """Permits that are being fetched, or are not due yet."""
    ahead: FetchAhead = field(default_factory=FetchAhead)
    slow_interval: float = 0.0
    """The interval that Redis named last."""
    paused_until: float = 0.0
    given_at: float = -math.inf

    @property
    def interval(self) -> float:
        """The seconds from one permit to the next."""
        return 60 / (self.allowed.per_minute or 1)

    @property
    def present_interval(self) -> float:
        """The seconds from one permit to the next, as long as a 429 holds too."""
        return max(self.interval, self.slow_interval)

    @property
    def depth(self) -> float:
        """The seconds for which unused permits are kept."""
        return (self.allowed.opening - 1) * self.interval

    @property
    def shortage(self) -> int:
        """How many permits the next fetch asks for, 0 if there is none."""
        while self.waiters and self.waiters[0].done():
            self.waiters.popleft()
        if not self.ahead.allows(monotonic(), self.expected, self.present_interval):
            return 0
        return max(0, min(fetch_size(self.present_interval), len(self.waiters) - self.expected))

    def give(self) -> None:
        """Give a permit to the first waiter; without one it is lost."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self.given_at = monotonic()
                return

    def fail(self, message: str) -> None:
        """End all waits with a `LimiterError`."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_exception(LimiterError(message))


class RedisLimiter:
    """A rate limit that all processes with the same *key* in the same Redis share.

    A 429 that one process gets holds back all of them, and slows them down for a minute, or for ten
    to the rate that it names. Permits are fetched ahead for as long as a round trip takes, so that
    a distant Redis does not slow a process down.

    While Redis does not answer, no permit is given, and no request is sent. Requests wait, as they
    do while the API is out, and go on by themselves.

    Use it in one event loop, with ``async with``, or call ``aclose()`` at the end.

    Args:
        url_or_client: A URL ("redis://", "rediss://", "unix://"), or a ``redis.asyncio.Redis``,
            which stays open.
        limits: The limits of the account, the same in all processes; the API's usual ones.
        key: Names the account; "replicate".
        outage_timeout: Seconds for which Redis may be out before the requests that wait raise
            `LimiterError`; 600. Nothing was sent for them.

    Raises:
        InvalidArgumentError: An argument is out of range.
    """

    def __init__(
        self,
        url_or_client: str | Redis,
        *,
        limits: Limits | None = None,
        key: str = "replicate",
        outage_timeout: float = 600.0,
    ) -> None:
        if not is_number(outage_timeout, 0):
            raise InvalidArgumentError(
                f"outage_timeout={shorten(outage_timeout)} must be a number of seconds, 0 or more."
            )
        self._outage_timeout = outage_timeout
        self._owns_client = isinstance(url_or_client, str)
        self._redis = connect(url_or_client)
        self._take = load_script(self._redis, _TAKE)
        self._slow_down = load_script(self._redis, _SLOW_DOWN)
        limits = limits or Limits()
        kinds: tuple[BucketName, ...] = ("create", "get", "other")
        self._queues: dict[BucketName, _PermitQueue] = {
            kind: _PermitQueue(f"{key}:{kind}", allowance(limits, kind)) for kind in kinds
        }
        self._reports: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all waits with `LimiterError`; close the connections unless the client was given."""
        self._closed = True
        for queue in self._queues.values():
            queue.fail("The RedisLimiter was closed. Nothing was sent.")
        fetches = {task for queue in self._queues.values() for task in queue.fetches}
        for task in fetches:
            task.cancel()
        try:
            if self._reports:
                await asyncio.wait(self._reports, timeout=ANSWER)
        finally:
            for task in self._reports:
                task.cancel()
            if tasks := fetches | self._reports:
                await asyncio.wait(tasks)
            if self._owns_client:
                await self._redis.aclose()

    async def acquire(self, kind: BucketName) -> None:
        """Wait until one more request may be sent.

        Args:
            kind: The kind of the request: "create", "get" or "other".

        Raises:
            LimiterError: Redis has been out for *outage_timeout*, or refuses.
        """
        queue = self._queues[kind]
        if queue.allowed.per_minute is None:
            return
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._closed or loop is not self._loop:
            state = "is closed" if self._closed else "belongs to another event loop"
            raise ClientStateError(f"The RedisLimiter {state}; make another one.")
        waiter = loop.create_future()
        queue.waiters.append(waiter)
        loop.call_soon(self._start_fetches, queue)  # for all that are asked for meanwhile
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                queue.give()
            raise

    def on_rate_limited(
        self, kind: BucketName, seconds: float, per_minute: float | None = None
    ) -> None:
        """Hold requests of all processes back after a 429.

        Args:
            kind: The kind of the requests.
            seconds: How long they are held back; 60 at most.
            per_minute: The rate that the API named for afterwards, if it did.
        """
        queue = self._queues[kind]
        if queue.allowed.per_minute is None or self._closed:
            return
        pause = min(max(seconds, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        queue.paused_until = max(queue.paused_until, monotonic() + pause)
        task = asyncio.create_task(self._report(queue, pause, per_minute))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _report(self, queue: _PermitQueue, pause: float, per_minute: float | None) -> None:
        """Write a pause to Redis, for all processes."""
        named = 60 * _US / (per_minute * RESERVE) if per_minute else 0
        times = (pause * _US, queue.interval * _US, named, _NAMED_FOR, _SLOWER_FOR)
        try:
            await self._run(self._slow_down, queue, times)
        except LimiterError as error:
            _log.warning("Other processes do not know of a pause of %.1f s: %s", pause, error)

    def _start_fetches(self, queue: _PermitQueue) -> None:
        """Fetch permits for the waiters, as many as may be expected."""
        while not self._closed and (number := queue.shortage):
            queue.expected += number
            queue.ahead.sent(queue.present_interval, random.random())  # noqa: S311 - no secret
            task = asyncio.create_task(self._fetch(queue, number))
            queue.fetches.add(task)
            task.add_done_callback(queue.fetches.discard)

    async def _ask(self, queue: _PermitQueue, number: int) -> tuple[float, float]:
        """Fetch permits; return when the first is due, and the seconds from one to the next."""
        try:
            while (wait := queue.paused_until - monotonic()) > 0:  # noqa: ASYNC110 - it may grow
                await asyncio.sleep(wait)
            unused = min(queue.depth, monotonic() - queue.given_at - queue.interval)
            times = (queue.interval * _US, queue.depth * _US, number, unused * _US)
            answer, trip = await self._run(self._take, queue, times)
        except BaseException:
            queue.ahead.failed()
            raise
        now = monotonic()
        wait, interval = (int(each) / _US for each in cast("list[bytes]", answer))
        queue.slow_interval = interval
        queue.ahead.answered(now, trip, wait, number, interval)
        if (early := queue.ahead.next_at - now) > 0:
            asyncio.get_running_loop().call_later(early, self._start_fetches, queue)
        return now + wait, interval

    async def _fetch(self, queue: _PermitQueue, number: int) -> None:
        """Fetch a *number* of permits, and give each when it is due."""
        try:
            due, interval = await self._ask(queue, number)
            while number:
                if (wait := due - monotonic()) > 0:
                    await asyncio.sleep(wait)
                if queue.paused_until > monotonic():
                    queue.ahead.dropped()
                    return
                number -= 1
                queue.expected -= 1
                queue.give()
                self._start_fetches(queue)
                due += interval
        except LimiterError as error:
            queue.fail(str(error))
        except asyncio.CancelledError:
            queue.fail("The event loop is closing. Nothing was sent.")
            raise
        finally:
            queue.expected -= number
            self._start_fetches(queue)

    async def _run(
        self,
        script: Script,
        queue: _PermitQueue,
        arguments: tuple[float, ...],
    ) -> tuple[object, float]:
        """Run *script*, again until Redis answers; return the answer, and how long it took."""
        began, failures = monotonic(), 0
        numbers = [f"{number:.0f}" for number in arguments]
        while True:
            sent_at = monotonic()
            try:
                answer = await script(keys=[queue.key], args=numbers)
            except exceptions.RedisError as error:
                failures += 1
                jitter = random.random()  # noqa: S311 - jitter is no secret
                pause = backoff(failures, base=_FIRST_RETRY, cap=_LAST_RETRY, jitter=jitter)
                out_for = monotonic() - began
                if not _is_transient(error) or out_for + pause > self._outage_timeout:
                    raise LimiterError(
                        f"The Redis of the limiter cannot be used ({type(error).__name__}: "
                        f"{error}), after {out_for:.1f} s. Nothing was sent."
                    ) from error
            else:
                return answer, monotonic() - sent_at
            await asyncio.sleep(pause)

    def __repr__(self) -> str:
        rates = ", ".join(
            f"{kind} {queue.allowed.per_minute}" for kind, queue in self._queues.items()
        )
        return f"<RedisLimiter {rates} a minute>"


def _is_transient(error: exceptions.RedisError) -> bool:
    """Whether Redis is out, or overloaded, and the same command may succeed a little later."""
    if isinstance(error, _REFUSED):
        return False
    return isinstance(error, _TRANSIENT) or str(error).startswith(_TRANSIENT_REPLIES)
