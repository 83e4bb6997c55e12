"""A token bucket with a queue: requests get their permits in order, at the bucket's rate.

Unused permits are handed out at once. Answers change the rate (`core.rate_estimator`, and beside
other processes `core.fair_share`); the allowance that the server reports is never exceeded.

A request has a place in the queue and not a time, so that a pause or a new rate moves all waiting
requests. The functions are pure: the caller passes the time of a monotonic clock.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable
from typing import Final

from replicate_async.core.fair_share import FairShare
from replicate_async.core.rate_estimator import RESERVE, RateEstimator

__all__ = ["TokenBucket", "usual_burst"]

# A tenth of the burst stays unused, since the server counts on its own clock and the network
# moves requests closer together. Rates under one a second have no burst (the API's text for
# accounts with little credit: "6 requests per minute with a burst of 1").
_BURST_SHARE: Final = 0.9
_NO_BURST_BELOW: Final = 60

_SHORTEST_PAUSE: Final = 0.25  # requests in flight are answered meanwhile
_LONGEST_PAUSE: Final = 60.0

_INSTANT: Final = 1e-6


def usual_burst(per_minute: float | None) -> int:
    """Return the permits that may be used at once while the server's own burst is unknown."""
    if per_minute is None or per_minute < _NO_BURST_BELOW:
        return 1
    return int(per_minute * _BURST_SHARE)


class TokenBucket:
    """A queue for permits that all tasks of a client share.

    *per_minute* is the rate (None: no limit). *burst* permits are handed out at once after a
    pause, *opening* of them before the first answer.

        if bucket.reserve(now) > 0:
            await bucket.turn(bucket.place, clock, sleep)

    After each answer, call `observed`, or `throttled` if it is a 429.
    """

    __slots__ = (
        "_again",
        "_burst",
        "_depth",
        "_due",
        "_estimator",
        "_fair",
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
        self._fair = FairShare(self._limit)
        self._interval = 1 / self._limit
        self._depth = (self._opening - 1) * self._interval + _INSTANT
        # When the next permit is due; in the past while there are unused ones.
        self._due = -math.inf
        self._gone: list[int] = []
        self._resumes = -math.inf
        # Places of repeats, which count down from -1, and the times at which they are due.
        self._front: dict[int, float] = {}
        self._front_ends = -math.inf
        self._again = 0
        self._waiting = 0
        self._looked = -math.inf
        self.place: int = 0
        """The place in the queue that the latest `reserve` took."""

    @property
    def rate(self) -> float:
        """The present rate, in permits a second."""
        return min(self._estimator.rate, self._fair.share * self._limit)

    def reserve(self, now: float) -> float:
        """Take a place in the queue; return the seconds until it is due, 0.0 for now."""
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
        """Take a place ahead of first attempts; return it and the seconds until it is due.

        It is for a repeat of a request that has waited its turn before.
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
        """Return when the first waiting place is due."""
        waiting = max(0, math.ceil((self._due - now) / self._interval - _INSTANT) - 1)
        # No place is due before the present pause ends.
        return max(self._due - waiting * self._interval, self._resumes)

    def wait(self, place: int, now: float) -> float:
        """Return the seconds until *place* is due at the present rate."""
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
        """Wait until *place* is due; give it up when cancelled."""
        self._waiting += 1
        try:
            while True:
                now = clock()
                self._look(now)
                wait = self.wait(place, now)
                if now + wait < self._resumes - _INSTANT:
                    # Due before the pause, and awake too late: the pause holds for it as well.
                    place, wait = self.reserve_front(now)
                if wait <= 0:
                    return
                # In parts, because the rate may rise.
                await sleep(min(wait, 0.25 + wait / 8))
        except BaseException:
            self.cancelled(place, clock())
            raise
        finally:
            self._waiting -= 1

    def _look(self, now: float) -> None:
        """Move the queue back after a time in which the process stood still.

        All places that became due meanwhile would leave at once, however many they are.
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
        """Give up *place*, whose request was not sent; the places behind it move up."""
        if place < 0:
            # The places around it have fixed times, so that its permit is lost.
            self._front.pop(place, None)
            return
        if self._due - self._interval <= now:
            self._gone.clear()
        else:
            insort(self._gone, place)
        self._due -= self._interval

    def observed(self, now: float, remaining: int | None = None, reset: float = 0.0) -> None:
        """Learn from an answer that is not a 429.

        *remaining* and *reset* are its `ratelimit-remaining` and `ratelimit-reset`: the requests
        that the server would take now, and the seconds until it takes more.
        """
        if self._opening < self._burst:
            self._open(now, remaining)
        if not self._estimator.settled:
            self._learn(now, remaining)
        if remaining is not None and self._limit < math.inf:
            if remaining < self._fair.plenty or self._fair.share < 1.0:
                self._take_share(now, remaining)
            due = now - (remaining - 1) * self._interval
            if due > self._due:
                # The API always says 1 and refills continuously; more is a fixed window.
                due += min(reset, _LONGEST_PAUSE) if remaining < 1 and reset > 1 else 0.0
                self._due = due

    def _take_share(self, now: float, remaining: int) -> None:
        before = self._fair.share
        self._fair.observed(now, remaining)
        if self._fair.share != before:
            self._change(now)

    def _learn(self, now: float, remaining: int | None) -> None:
        estimator = self._estimator
        before, named = estimator.rate, estimator.burst is not None
        estimator.accepted(now, remaining)
        if estimator.rate != before:
            if named and estimator.settled:
                # The account may have its usual limit again; if not, few requests are refused.
                self._opening = 1
            self._change(now)

    def throttled(
        self,
        now: float,
        retry_after: float | None = None,
        per_minute: float | None = None,
        burst: int | None = None,
    ) -> None:
        """Learn from a 429: hold all requests back for *retry_after* seconds, then go slower.

        *per_minute* and *burst* are the limits that it names, if it does.
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
        """Apply the present rate, to waiting places as well."""
        estimator = self._estimator
        due = max(self._due, now - self._depth)
        stretch = 1 / (self.rate * self._interval)
        self._interval = 1 / self.rate
        if estimator.burst is not None:
            burst = min(estimator.burst, self._burst)
        elif estimator.rate >= self._limit:
            burst = self._opening
        else:
            # The server's burst is unknown now; the permits of one second are safe.
            burst = min(self._burst, max(1, int(estimator.rate)))
        self._depth = (burst - 1) * self._interval + _INSTANT
        self._due = now + (due - now) * stretch
        self._front = {place: now + (due - now) * stretch for place, due in self._front.items()}
        self._front_ends = now + (self._front_ends - now) * stretch

    def _open(self, now: float, remaining: int | None) -> None:
        """Open more of the burst: as much as the server reports, else one permit an answer."""
        rest = self._burst - self._opening
        more = 1 if remaining is None else min(rest, remaining)
        self._due = max(self._due, now - self._depth) - more * self._interval
        self._opening += 1 if remaining is None else rest
        self._depth = (self._opening - 1) * self._interval + _INSTANT

    def __repr__(self) -> str:
        return f"<TokenBucket {self.rate * 60:.6g} a minute>"
