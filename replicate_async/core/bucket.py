"""A line for permits: who may send now, and who has to wait how long.

Permits are handed out in the order in which they were asked for: at the bucket's rate, and at
once while it has unused ones. What a request was answered changes the rate
(`core.rate_estimator`); what the server says is left is never exceeded.

A permit has a place in the line and not a time, so that a pause or a new rate moves everybody who
already waits. Nothing here reads a clock: the caller passes the time, from one that never jumps.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable
from typing import Final

from replicate_async.core.rate_estimator import RESERVE, RateEstimator

__all__ = ["TokenBucket", "usual_burst"]

# A server counts on its own clock and the network compresses what was spaced out, so a tenth of
# the burst stays unused. Allowances under one a second come without a burst (the API's text for
# accounts with little credit: "6 requests per minute with a burst of 1").
_BURST_SHARE: Final = 0.9
_NO_BURST_BELOW: Final = 60

_SHORTEST_PAUSE: Final = 0.25  # or what is under way teaches nothing
_LONGEST_PAUSE: Final = 60.0

_INSTANT: Final = 1e-6


def usual_burst(per_minute: float | None) -> int:
    """Return how many permits may be used at once when the server's own burst is not known."""
    if per_minute is None or per_minute < _NO_BURST_BELOW:
        return 1
    return int(per_minute * _BURST_SHARE)


class TokenBucket:
    """A line for permits, shared by all tasks of a client.

    *per_minute* is the rate (None: no limit); *burst* permits are handed out at once when none
    was used for a while, *opening* of them before the first answer. Use it as

        if bucket.reserve(now) > 0:
            await bucket.turn(bucket.place, clock, sleep)

    and tell it how each request was answered with `observed` or `throttled`.
    """

    __slots__ = (
        "_again",
        "_burst",
        "_depth",
        "_due",
        "_estimator",
        "_front",
        "_front_ends",
        "_gone",
        "_interval",
        "_limit",
        "_looked",
        "_opening",
        "_resumes",
        "_waiting",
        "place",
    )

    def __init__(
        self, per_minute: float | None, *, burst: int | None = None, opening: int | None = None
    ) -> None:
        self._limit = math.inf if per_minute is None else per_minute / 60
        self._burst = max(1, usual_burst(per_minute) if burst is None else burst)
        self._opening = self._burst if opening is None else min(opening, self._burst)
        self._estimator = RateEstimator(self._limit)
        self._interval = 1 / self._limit
        self._depth = (self._opening - 1) * self._interval + _INSTANT
        # When the next permit is due: in the past as far as unused ones reach back.
        self._due = -math.inf
        self._gone: list[int] = []
        self._resumes = -math.inf
        # Those who come a second time: their places count down from -1, and they have times.
        self._front: dict[int, float] = {}
        self._front_ends = -math.inf
        self._again = 0
        self._waiting = 0
        self._looked = -math.inf
        self.place: int = 0
        """The place in the line that the latest `reserve` took."""

    @property
    def rate(self) -> float:
        """The permits a second that are handed out at present."""
        return self._estimator.rate

    def reserve(self, now: float) -> float:
        """Take a place in the line; return the seconds until it is due, 0.0 to go at once."""
        due = self._due
        earliest = now - self._depth
        if due < earliest:  # noqa: PLR1730 - on every request's path, and max() is a call
            due = earliest
        self._due = due + self._interval
        self.place += 1
        return due - now if due > now else 0.0

    def delay(self, now: float, ahead: int = 0) -> float:
        """Return the seconds that `reserve` would return after *ahead* more places were taken."""
        due = max(self._due, now - self._depth) + ahead * self._interval
        return max(0.0, due - now)

    def reserve_front(self, now: float) -> tuple[int, float]:
        """Take a place before all who come for the first time; return it and its wait.

        For a request that was refused after it had waited its turn.
        """
        if self._due <= now:
            wait = self.reserve(now)
            return self.place, wait
        due = max(self._next(now), self._front_ends)
        self._front_ends = due + self._interval
        self._due += self._interval
        self._again -= 1
        self._front[self._again] = due
        return self._again, self.wait(self._again, now)

    def _next(self, now: float) -> float:
        """Return when the first of those who wait is due."""
        waiting = max(0, math.ceil((self._due - now) / self._interval - _INSTANT) - 1)
        # Nobody is due before the end of the pause that is in force already.
        return max(self._due - waiting * self._interval, self._resumes)

    def wait(self, place: int, now: float) -> float:
        """Return the seconds until *place* is due as things stand now."""
        if place < 0:
            due = self._front[place]
            if due - now <= _INSTANT:
                del self._front[place]
                return 0.0
            return due - now
        behind = self.place - place
        if self._gone:
            behind -= len(self._gone) - bisect_left(self._gone, place)
        due = self._due - (behind + 1) * self._interval
        return due - now if due - now > _INSTANT else 0.0

    async def turn(
        self,
        place: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        """Wait until *place* is due; if the caller is cancelled, leave the line."""
        self._waiting += 1
        try:
            while True:
                now = clock()
                self._look(now)
                wait = self.wait(place, now)
                if now + wait < self._resumes - _INSTANT:
                    # Overslept: its permit fell into the pause before which it was due.
                    place, wait = self.reserve_front(now)
                if wait <= 0:
                    return
                # In parts, because the line may start to move faster.
                await sleep(min(wait, 0.25 + wait / 8))
        except BaseException:
            self.cancelled(place, clock())
            raise
        finally:
            self._waiting -= 1

    def _look(self, now: float) -> None:
        """Move the line back if nobody in it looked when somebody was due.

        What becomes due while the process stands still would leave at once, however much it is.
        """
        before, self._looked = self._looked, now
        if self._waiting == 1 or self._due <= before:
            return
        late = now - self._next(before + 2 * _INSTANT) - self._depth
        if late > self._interval * (1 - RESERVE):
            self._due += late
            self._front = {place: due + late for place, due in self._front.items()}
            self._front_ends += late

    def cancelled(self, place: int, now: float) -> None:
        """Give up *place*, whose request was not sent: those behind it move up."""
        if place < 0:
            # Those before and behind it have their times already, so its permit is lost.
            self._front.pop(place, None)
            return
        if self._due - self._interval <= now:
            self._gone.clear()
        else:
            insort(self._gone, place)
        self._due -= self._interval

    def observed(self, now: float, remaining: int | None = None, reset: float = 0.0) -> None:
        """Learn from an answer that was not a 429.

        *remaining* and *reset* are its `ratelimit-remaining` and `ratelimit-reset`: how many more
        requests the server would take now, and in how many seconds there will be more.
        """
        if self._opening < self._burst:
            self._open(now, remaining)
        if not self._estimator.settled:
            self._learn(now, remaining)
        if remaining is not None and self._limit < math.inf:
            due = now - (remaining - 1) * self._interval
            if due > self._due:
                # The API says 1 at all times and refills continuously; more is a fixed window.
                due += min(reset, _LONGEST_PAUSE) if remaining < 1 and reset > 1 else 0.0
                self._due = due

    def _learn(self, now: float, remaining: int | None) -> None:
        estimator = self._estimator
        before, named = estimator.rate, estimator.burst is not None
        estimator.accepted(now, remaining)
        if estimator.rate != before:
            if named and estimator.settled:
                # The account may have its usual limit again; if not, few find out.
                self._opening = 1
            self._change(now)

    def throttled(
        self,
        now: float,
        retry_after: float | None = None,
        per_minute: float | None = None,
        burst: int | None = None,
    ) -> None:
        """Learn from a 429: hold everybody back for *retry_after* seconds, then go slower.

        *per_minute* and *burst* are what it said is allowed, if it did.
        """
        if self._limit == math.inf:
            return
        pause = min(max(retry_after or 0.0, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        resumes = max(self._resumes, now + pause)
        self._opening = self._burst
        if per_minute is None or per_minute <= 0:
            self._estimator.refused(now, resumes)
        else:
            self._estimator.named(now, resumes, per_minute / 60, burst)
        self._change(now)
        moved = max(0.0, resumes - self._next(now))
        self._resumes = resumes
        self._due = max(self._due + moved, resumes)
        self._front = {place: max(due + moved, resumes) for place, due in self._front.items()}
        self._front_ends += moved

    def _change(self, now: float) -> None:
        """Hand out the present rate from now on, also to those who already wait."""
        estimator = self._estimator
        due = max(self._due, now - self._depth)
        stretch = 1 / (estimator.rate * self._interval)
        self._interval = 1 / estimator.rate
        if estimator.burst is not None:
            burst = min(estimator.burst, self._burst)
        elif estimator.rate >= self._limit:
            burst = self._opening
        else:
            # Of the server's burst nothing is known any more: what a second brings is safe.
            burst = min(self._burst, max(1, int(estimator.rate)))
        self._depth = (burst - 1) * self._interval + _INSTANT
        self._due = now + (due - now) * stretch
        self._front = {place: now + (due - now) * stretch for place, due in self._front.items()}
        self._front_ends = now + (self._front_ends - now) * stretch

    def _open(self, now: float, remaining: int | None) -> None:
        """Hand out more of the burst: as much as the server says it has, else one an answer."""
        rest = self._burst - self._opening
        more = 1 if remaining is None else min(rest, remaining)
        self._due = max(self._due, now - self._depth) - more * self._interval
        self._opening += 1 if remaining is None else rest
        self._depth = (self._opening - 1) * self._interval + _INSTANT

    def __repr__(self) -> str:
        return f"<TokenBucket {self.rate * 60:.6g} a minute>"
