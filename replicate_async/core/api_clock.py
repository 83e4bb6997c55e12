"""Estimates the API's clock from the ``Date`` of its answers.

``Date`` has whole seconds, and is written between the request and its answer. So the offset of the
API's clock is an interval, which further answers narrow. It is an offset from the monotonic clock,
so that a wrong wall clock does no harm. The monotonic clock may stand still while the machine
sleeps: two other clocks show that, and the upper end of the interval moves with them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from replicate_async.core.problem import timestamp

__all__ = ["ApiClock", "Moment", "answered_at", "moment"]

_EVERY: Final = 1.0
"""Seconds between two answers that are read: more would tell little and cost calls."""
_AT_FIRST: Final = 0.1  # while the bounds are further apart than half a second
_NARROW: Final = 0.5
_DRIFT: Final = 2e-4  # of a quartz clock, in seconds a second
_SLEPT: Final = 1.0  # seconds by which the clocks disagree only after a sleep

# Linux; elsewhere the monotonic clock counts sleep, or the wall clock alone does.
_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


class Moment(NamedTuple):
    """One instant on three clocks of this machine, in seconds."""

    awake: float
    """The monotonic clock, which may stand still while the machine sleeps."""
    running: float
    """A monotonic clock that counts sleep, where there is one."""
    wall: float
    """Seconds since 1970, if the clock is right."""


def moment() -> Moment:
    """Return the present instant."""
    awake = time.monotonic()
    running = awake if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
    return Moment(awake, running, time.time())


def answered_at(headers: Mapping[str, str]) -> float | None:
    """Return when the API wrote an answer, in whole seconds since 1970 by its own clock.

    None without a ``Date``, and with an ``Age``: then a cache answered.
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
        """The monotonic time from which the next answer is read."""

    @property
    def known(self) -> bool:
        """Whether any answer had a date."""
        return self._at is not None

    def observe(self, headers: Mapping[str, str], sent: float, now: Moment) -> None:
        """Learn from an answer that came *now*; *sent* is a monotonic time before its request."""
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
            highest = math.inf  # its request left before the sleep
        drift = _DRIFT * (now.awake - before.awake)
        low, high = self._lowest - drift, self._highest + drift + slept
        if highest < low:
            # Older than its request: it is from a cache that sends no Age.
            self._lowest, self._highest = low, high
        else:
            # Later than the bounds allow: this machine slept, or one of the API's clocks is ahead.
            # Both bounds stay until the next answer.
            self._lowest = max(low, lowest) if lowest <= high else low
            self._highest = min(high, highest) if lowest <= high else highest

    def earliest(self, at: Moment | None = None) -> float | None:
        """Return a time that the API's clock has passed now, or had *at* a moment since."""
        if self._at is None:
            return None
        at = at or moment()
        return at.awake + self._lowest - _DRIFT * abs(at.awake - self._at.awake)

    def latest(self, at: Moment | None = None) -> float | None:
        """Return a time that the API's clock has not reached now, or had not *at* a moment."""
        if self._at is None:
            return None
        at = at or moment()
        apart = abs(at.awake - self._at.awake)
        return at.awake + self._highest + _DRIFT * apart + _slept(self._at, at)


def _slept(since: Moment, until: Moment) -> float:
    """Return the most seconds between two moments that the monotonic clock did not count."""
    awake = until.awake - since.awake
    return max(0.0, until.running - since.running - awake, until.wall - since.wall - awake)
