"""The API's clock, as far as the ``Date`` of its answers tells it.

``Date`` has whole seconds, and is written at some time between the request and its answer. So the
offset of the API's clock is known as an interval, which further answers narrow. A local clock that
is wrong does not matter: the offset is one from the clock that counts the seconds in which this
machine is awake. That clock stands still while the machine sleeps, so two others are looked at:
when they ran ahead of it, the upper end of the interval moves with them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from replicate_async.core.problem import timestamp

__all__ = ["ApiClock", "Moment", "answered_at", "moment"]

_EVERY: Final = 1.0
"""Seconds in which one answer is enough: more would tell little and cost calls."""
_AT_FIRST: Final = 0.1  # while the bounds are further apart than half a second
_NARROW: Final = 0.5
_DRIFT: Final = 2e-4  # by which a quartz clock may run too fast or too slow
_SLEPT: Final = 1.0  # seconds by which the clocks disagree after a sleep, and otherwise do not

# Linux; elsewhere the monotonic clock counts sleep, or the wall clock alone does.
_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


class Moment(NamedTuple):
    """One instant on three clocks of this machine, in seconds."""

    awake: float
    """The monotonic clock, which may stand still while the machine sleeps."""
    running: float
    """A monotonic clock that counts sleep, where there is one."""
    wall: float
    """Seconds since 1970, as far as the clock is set right."""


def moment() -> Moment:
    """Return the present instant."""
    awake = time.monotonic()
    running = awake if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
    return Moment(awake, running, time.time())


def answered_at(headers: Mapping[str, str]) -> float | None:
    """Return the API's time at which an answer was written, in whole seconds since 1970.

    None when it has no ``Date``, or has an ``Age``: then a cache answered, with what it once got.
    """
    return None if "age" in headers else timestamp(headers.get("date", ""))


class ApiClock:
    """The bounds of the API's present time, in seconds since 1970."""

    __slots__ = ("_at", "_highest", "_lowest", "_slept_at", "due")

    def __init__(self) -> None:
        # Bounds of the API's time minus `Moment.awake`, as they were at `_at`.
        self._lowest: float = 0.0
        self._highest: float = 0.0
        self._at: Moment | None = None
        self._slept_at = -math.inf
        self.due: float = -math.inf
        """The monotonic time from which another answer is worth looking at."""

    @property
    def known(self) -> bool:
        """Whether there are any bounds."""
        return self._at is not None

    def observe(self, headers: Mapping[str, str], sent: float, now: Moment) -> None:
        """Learn from an answer that came just *now*.

        *sent* is a monotonic time before its request left.
        """
        self.due = now.awake + _EVERY
        written = answered_at(headers)
        if written is None:
            return
        if self._highest - self._lowest > _NARROW or self._at is None:
            self.due = now.awake + _AT_FIRST
        lowest, highest = written - now.awake, written + 1 - sent
        before, self._at = self._at, now
        if before is None:
            self._lowest, self._highest = lowest, highest
            return
        slept = _slept(before, now)
        if slept > _SLEPT:
            self._slept_at = now.awake
            highest += slept
        elif sent <= self._slept_at:
            highest = math.inf  # its request left before the sleep, which it does not show
        drift = _DRIFT * (now.awake - before.awake)
        low, high = self._lowest - drift, self._highest + drift + slept
        if highest < low:
            # Older than its request: a cache wrote it, without an Age.
            self._lowest, self._highest = low, high
        else:
            # Later than any before: this machine slept, or one of the API's clocks is ahead.
            # Both may be right until the next answer.
            self._lowest = max(low, lowest) if lowest <= high else low
            self._highest = min(high, highest) if lowest <= high else highest

    def earliest(self, at: Moment | None = None) -> float | None:
        """Return a time that the API's clock shows by now, or showed *at* a moment since."""
        if self._at is None:
            return None
        at = at or moment()
        return at.awake + self._lowest - _DRIFT * abs(at.awake - self._at.awake)

    def latest(self, at: Moment | None = None) -> float | None:
        """Return a time that the API's clock does not show yet, or did not *at* any moment."""
        if self._at is None:
            return None
        at = at or moment()
        apart = abs(at.awake - self._at.awake)
        return at.awake + self._highest + _DRIFT * apart + _slept(self._at, at)


def _slept(since: Moment, until: Moment) -> float:
    """Return the most seconds between two moments that the monotonic clock did not count."""
    awake = until.awake - since.awake
    return max(0.0, until.running - since.running - awake, until.wall - since.wall - awake)
