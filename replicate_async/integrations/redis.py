"""One limit for all processes that reach the same Redis.

    async with RedisLimiter("redis://localhost") as limiter, Replicate(limiter=limiter) as client:
        ...

The state is one small hash for each kind of request. A script hands out permits by the generic
cell rate algorithm, and by Redis' own clock: the one time that all processes share.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Self, cast

from replicate_async.core.limits import Allowance, BucketName, Limits, allowance
from replicate_async.core.rate_estimator import RESERVE
from replicate_async.errors import ClientStateError, InvalidArgumentError, LimiterError

try:
    from redis import exceptions
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError as _missing:
    raise ImportError("This needs redis: pip install 'replicate-async[redis]'.") from _missing

__all__ = ["RedisLimiter"]

_log = logging.getLogger("replicate_async")

# Times are in microseconds since 1970, which a double holds exactly.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'due', 'pause', 'interval', 'slow')
local interval, depth = tonumber(ARGV[1]), tonumber(ARGV[2])
local slow = tonumber(state[4] or 0)
if slow > now then
    interval, depth = math.max(interval, tonumber(state[3])), 0
end
local due = math.max(tonumber(state[1] or 0), now - depth, tonumber(state[2] or 0))
local after = due + tonumber(ARGV[3]) * interval
redis.call('HSET', KEYS[1], 'due', string.format('%.0f', after))
redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(after, slow) - now) / 1000) + 60000)
return {string.format('%.0f', due - now), string.format('%.0f', interval)}
"""

_PENALIZE: Final = """
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

_SECOND: Final = 1e6
_NAMED_FOR: Final = 600 * _SECOND  # until a rate that a 429 named is put to the test
_SLOWER_FOR: Final = 60 * _SECOND  # after a 429 that named none
_SHORTEST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 60.0

# Several permits a round trip where they are due so soon that no pause is missed meanwhile, and no
# more, so that processes take turns.
_AHEAD: Final = 0.1
_MOST: Final = 16

_ANSWER: Final = 5.0  # seconds that Redis has for an answer
_PASSING: Final = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ReadOnlyError)


@dataclass(slots=True)
class _Line:
    """Those of this process who wait for one kind of permit, and the task that fetches them."""

    key: str
    allowed: Allowance
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque[asyncio.Future[None]])
    fetching: asyncio.Task[None] | None = None
    paused: float = 0.0

    @property
    def interval(self) -> float:
        """The microseconds from one permit to the next."""
        return 60 * _SECOND / (self.allowed.per_minute or 1)

    @property
    def depth(self) -> float:
        """The microseconds that unused permits reach back."""
        return (self.allowed.opening - 1) * self.interval

    def length(self) -> int:
        """Return how many are still waiting."""
        while self.waiting and self.waiting[0].done():
            self.waiting.popleft()
        return len(self.waiting)

    def give(self) -> None:
        """Give a permit to the first who still waits; with nobody there it is lost."""
        if self.length():
            self.waiting.popleft().set_result(None)

    def fail(self, message: str) -> None:
        """Tell all who wait that there will be no permit."""
        while self.length():
            self.waiting.popleft().set_exception(LimiterError(message))


class RedisLimiter:
    """A limit that is kept together by all processes with the same *key* in the same Redis.

    *url_or_client* is a URL ("redis://", "rediss://", "unix://") or a ``redis.asyncio.Redis``,
    which stays open. All processes should have the same *limits*, and a *key* for each account.
    A 429 that one of them gets holds back all of them, and slows them down for a minute, or for
    ten to the rate that it names.

    While Redis does not answer nobody is given a permit. After *patience* seconds (10) those who
    wait get a `LimiterError`: nothing was sent for them. Requests are never sent unpaced.

    Use it in one event loop, with ``async with``, or call ``aclose()`` at the end. Raises
    `InvalidArgumentError` for arguments that cannot be right.
    """

    def __init__(
        self,
        url_or_client: str | Redis,
        *,
        limits: Limits | None = None,
        key: str = "replicate",
        patience: float = 10.0,
    ) -> None:
        if not 0 <= patience < float("inf"):
            raise InvalidArgumentError(f"patience={patience}: use a number of seconds, 0 or more.")
        self._patience = patience
        self._own = isinstance(url_or_client, str)
        self._redis = _connect(url_or_client)
        self._take = _script(self._redis, _TAKE)
        self._penalize = _script(self._redis, _PENALIZE)
        limits = limits or Limits()
        kinds: tuple[BucketName, ...] = ("create", "get", "other")
        self._lines: dict[BucketName, _Line] = {
            kind: _Line(f"{key}:{kind}", allowance(limits, kind)) for kind in kinds
        }
        self._telling: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, and close the connections unless the client was given; those who wait fail."""
        self._closed = True
        tasks = {line.fetching for line in self._lines.values() if line.fetching is not None}
        for task in tasks:
            task.cancel()
        if tasks | self._telling:
            await asyncio.wait(tasks | self._telling, timeout=_ANSWER)
        if self._own:
            await self._redis.aclose()

    async def acquire(self, kind: BucketName) -> None:
        """Wait until one more request of this *kind* may be sent.

        Raises `LimiterError` when Redis cannot be asked.
        """
        line = self._lines[kind]
        if line.allowed.per_minute is None:
            return
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._closed or loop is not self._loop:
            state = "is closed" if self._closed else "belongs to another event loop"
            raise ClientStateError(f"The RedisLimiter {state}; make another one.")
        turn = loop.create_future()
        line.waiting.append(turn)
        if line.fetching is None:
            line.fetching = asyncio.create_task(self._fetch(line))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:
                line.give()
            raise

    def on_rate_limited(
        self, kind: BucketName, seconds: float, per_minute: float | None = None
    ) -> None:
        """Hold back all processes for *seconds*, 60 at most, and then to *per_minute*."""
        line = self._lines[kind]
        if line.allowed.per_minute is None or self._closed:
            return
        pause = min(max(seconds, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        line.paused = max(line.paused, monotonic() + pause)
        task = asyncio.create_task(self._tell(line, pause, per_minute))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, line: _Line, pause: float, per_minute: float | None) -> None:
        named = 60 * _SECOND / (per_minute * RESERVE) if per_minute else 0
        times = (pause * _SECOND, line.interval, named, _NAMED_FOR, _SLOWER_FOR)
        try:
            await self._run(self._penalize, line, times)
        except LimiterError as error:
            _log.warning("Other processes do not know of a pause of %.1f s: %s", pause, error)

    async def _fetch(self, line: _Line) -> None:
        """Fetch permits as long as somebody waits for one."""
        try:
            while line.length():
                if (wait := line.paused - monotonic()) > 0:
                    await asyncio.sleep(wait)
                await self._hand_out(line)
        except asyncio.CancelledError:
            line.fail("The RedisLimiter was closed. Nothing was sent.")
            raise
        except LimiterError as error:
            line.fail(str(error))
        finally:
            line.fetching = None

    async def _hand_out(self, line: _Line) -> None:
        soon = int(_AHEAD * _SECOND / line.interval)
        number = min(line.length(), max(1, min(soon, _MOST)))
        answer = cast(
            "tuple[bytes, bytes]",
            await self._run(self._take, line, (line.interval, line.depth, number)),
        )
        first, interval = int(answer[0]) / _SECOND, int(answer[1]) / _SECOND
        begin = monotonic()
        for place in range(number):
            due = begin + first + place * interval
            if (wait := due - monotonic()) > 0:
                await asyncio.sleep(wait)
            if line.paused > monotonic():
                return
            line.give()

    async def _run(
        self, script: Callable[..., Awaitable[object]], line: _Line, arguments: tuple[float, ...]
    ) -> object:
        began = monotonic()
        delay = 0.05
        while True:
            try:
                return await script(keys=[line.key], args=[f"{number:.0f}" for number in arguments])
            except exceptions.RedisError as error:
                waited = monotonic() - began
                passing = isinstance(error, _PASSING) and not isinstance(
                    error, exceptions.AuthenticationError
                )
                if not passing or waited + delay > self._patience:
                    raise LimiterError(
                        f"The Redis of the limiter cannot be used ({type(error).__name__}: "
                        f"{error}), after {waited:.1f} s. Nothing was sent."
                    ) from error
            await asyncio.sleep(delay)
            delay = min(1.0, 2 * delay)

    def __repr__(self) -> str:
        rates = ", ".join(f"{kind} {line.allowed.per_minute}" for kind, line in self._lines.items())
        return f"<RedisLimiter {rates} a minute>"


def _connect(given: str | Redis) -> Redis:
    if isinstance(given, Redis):
        return given
    try:
        # As below: its own types differ from release to release.
        client: Redis = cast("Any", Redis).from_url(
            given,
            socket_timeout=_ANSWER,
            socket_connect_timeout=_ANSWER,
            # Patience is ours, and counted.
            retry=Retry(NoBackoff(), 0),
        )
    except (ValueError, AttributeError, TypeError):
        pass
    else:
        return client
    del given  # there may be a password in it, and tracebacks may be printed with their locals
    raise InvalidArgumentError(
        "RedisLimiter needs a URL with redis:, rediss: or unix:, or a redis.asyncio.Redis."
    )


def _script(redis: Redis, text: str) -> Callable[..., Awaitable[object]]:
    script: Callable[..., Awaitable[object]] = cast("Any", redis).register_script(text)
    return script
