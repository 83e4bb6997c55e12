"""The server's time: the machine's, plus the seconds that a test has added."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_MICROSECOND = 1e-6


class Timer:
    """A call that is due at some time, unless it is cancelled."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Forget the call."""
        self._call = None

    def fire(self) -> None:
        """Make the call, once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Clock:
    """Wall time that can be moved forward, and its timers."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._last = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._wake: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time() + self._offset

    def stamp(self) -> float:
        """Return the time, at least a microsecond later than every earlier stamp."""
        self._last = max(round(self.now(), 6), round(self._last + _MICROSECOND, 6))
        return self._last

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        """Schedule *call* for the time *when*."""
        timer = Timer(call)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        if self._timers[0][2] is timer:
            self._arm()
        return timer

    def call_later(self, delay: float, call: Callable[[], object]) -> Timer:
        """Schedule *call* in *delay* seconds."""
        return self.call_at(self.now() + delay, call)

    async def sleep(self, delay: float) -> None:
        """Wait until *delay* seconds have passed on this clock."""
        if delay <= 0:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay, lambda: _settle(woken))
        try:
            await woken
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        """Move the clock forward, and make the calls that are due by then."""
        self._offset += seconds
        self._run_due()

    def close(self) -> None:
        """Forget all timers."""
        self._timers.clear()
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None

    def _arm(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._timers:
            delay = max(0.0, self._timers[0][0] - self.now())
            self._wake = asyncio.get_running_loop().call_later(delay, self._run_due)

    def _run_due(self) -> None:
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].fire()
        self._arm()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def timestamp(seconds: float, digits: int = 6) -> str:
    """Return *seconds* since the epoch in RFC 3339, cut off after *digits* fractional digits."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=round(seconds, 6))
    whole = moment.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{moment.microsecond:06d}000"[:digits]
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
