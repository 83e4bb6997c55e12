"""One pace for several processes, kept by one of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from replicate_async.core.limits import BucketName, Limits, RateLimiters

# A trip to who keeps the pace costs more than a `predictions.get` is worth.
_AT_A_TIME: Final[dict[BucketName, int]] = {"create": 1, "get": 50, "other": 10}

_ANSWERS_WITHIN: Final = 3.0
"""Seconds until a pacemaker that says nothing is taken for gone."""


class Pacemaker:
    """Keeps the pace that *limits* say, for whoever asks; it lives in one process."""

    def __init__(self, limits: Limits) -> None:
        self._pacer = RateLimiters(limits)

    def take(self, kind: BucketName, number: int) -> list[float]:
        """Return in how many seconds each of *number* requests of this *kind* may be sent."""
        bucket = self._pacer.buckets[kind]
        now = time.monotonic()
        bucket.observed(now)  # whoever asks for more had answers
        return [bucket.reserve(now) for _ in range(number)]

    def throttled(self, kind: BucketName, seconds: float, per_minute: float | None) -> None:
        """Learn of a 429 that one of them got."""
        self._pacer.buckets[kind].throttled(time.monotonic(), seconds, per_minute)


class Far(Protocol):
    """A `Pacemaker` in another process."""

    def take(self, kind: BucketName, number: int) -> Awaitable[list[float]]:
        """Return in how many seconds each of *number* requests may be sent."""
        ...

    def throttled(
        self, kind: BucketName, seconds: float, per_minute: float | None
    ) -> Awaitable[None]:
        """Learn of a 429."""
        ...


class SharedLimiter:
    """A limiter whose permits come from a pacemaker that is *far* away.

    When that is lost, this process goes on alone at its share of the *limits*, one of *processes*:
    slower than it might be, and never faster than it may.
    """

    def __init__(self, far: Far, *, limits: Limits, processes: int) -> None:
        self._far: Far | None = far
        self._alone = RateLimiters(_share(limits, processes))
        self._permits: dict[BucketName, deque[float]] = {
            "create": deque(),
            "get": deque(),
            "other": deque(),
        }
        self._turns: dict[BucketName, asyncio.Lock] = {
            kind: asyncio.Lock() for kind in self._permits
        }
        self._telling: set[asyncio.Future[None]] = set()

    @property
    def lost(self) -> bool:
        """Whether the pacemaker is gone."""
        return self._far is None

    async def acquire(self, kind: BucketName) -> None:
        """Wait until one more request of this *kind* may be sent."""
        async with self._turns[kind]:
            permits = self._permits[kind]
            if not permits and self._far is not None:
                await self._fetch(self._far, kind)
            due = permits.popleft() if permits else None
        if due is None:
            bucket = self._alone.buckets[kind]
            if bucket.reserve(time.monotonic()) > 0:
                await bucket.turn(bucket.place, time.monotonic, asyncio.sleep)
        elif (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)

    async def _fetch(self, far: Far, kind: BucketName) -> None:
        try:
            # Some engines leave the calls to a worker that is gone without an answer.
            async with asyncio.timeout(_ANSWERS_WITHIN):
                waits = await far.take(kind, _AT_A_TIME[kind])
        except Exception:  # noqa: BLE001 - however the engine says that it is gone
            self._far = None
            return
        now = time.monotonic()
        self._permits[kind].extend(now + wait for wait in waits)

    def on_rate_limited(
        self, kind: BucketName, seconds: float, per_minute: float | None = None
    ) -> None:
        """Learn of a 429, and let the pacemaker know."""
        self._permits[kind].clear()
        self._alone.buckets[kind].throttled(time.monotonic(), seconds, per_minute)
        far = self._far
        if far is not None:
            self._tell(lambda: far.throttled(kind, seconds, per_minute))

    def _tell(self, call: Callable[[], Awaitable[None]]) -> None:
        async def quietly() -> None:
            try:
                await call()
            except Exception:  # noqa: BLE001 - as above
                self._far = None

        telling = asyncio.ensure_future(quietly())
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)


def _share(limits: Limits, processes: int) -> Limits:
    return msgspec.structs.replace(
        limits,
        creates=None if limits.creates is None else limits.creates / processes,
        gets=None if limits.gets is None else limits.gets / processes,
        others=None if limits.others is None else limits.others / processes,
        burst=None if limits.burst is None else max(1, limits.burst // processes),
    )
