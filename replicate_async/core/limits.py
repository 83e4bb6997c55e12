"""How fast requests may leave, so that a batch runs at the API's limit without being refused.

A bucket hands out permits in the order in which they were asked for: at its rate, and at once
while it has unused ones. It starts with the documented rate and corrects itself: a 429 pauses it
and lowers the rate to what got through, from where it grows back along a cubic curve (RFC 9438:
careful around the rate that was refused, bold away from it), and what the server says is left is
never exceeded.

A permit has a place in the line and not a time, so that a pause or a new rate moves everybody who
already waits. Nothing here reads a clock: the caller passes the time, from one that never jumps.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = ["BucketName", "Limits", "Pacer", "TokenBucket"]

BucketName: TypeAlias = Literal["create", "get", "other"]

# A server counts on its own clock and the network compresses what was spaced out, so a tenth of
# the burst stays unused. Allowances under one a second come without a burst (the API's text for
# accounts with little credit: "6 requests per minute with a burst of 1").
_BURST_SHARE: Final = 0.9
_NO_BURST_BELOW: Final = 60

# The permits given out before any answer came: an account's true limit may be far lower.
_OPENING: Final = 40

_SHORTEST_PAUSE: Final = 0.25  # or what is under way teaches nothing
_LONGEST_PAUSE: Final = 60.0
_LOWEST_RATE: Final = 1 / 60

_CUT: Final = 0.15  # below the rate that got through
_DEEPEST_CUT: Final = 0.4
_RECOVERY: Final = 10.0  # seconds until that rate is reached again
_PERMITS: Final = 5  # but not before so many have shown that it holds
_SAME_STORM: Final = 0.5  # seconds in which further 429s answer what was sent before the first

_INSTANT: Final = 1e-6


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests a client sends a minute, and how many connections it opens at a time.

    The defaults are the API's documented limits: 600 *creates* of predictions, 60,000 *gets*
    (`predictions.get`), 3,000 *others*. *burst* creates may leave at once after a silence; unless
    set, nine tenths of a minute's allowance may, and 40 until the first answer shows that the
    account has the usual limit. None lifts one limit and `enabled=False` all three; *connects*
    (200) bounds the connections being opened at the same time.

    Raises `ValueError` for values that make no sense.
    """

    creates: float | None = 600
    gets: float | None = 60_000
    others: float | None = 3_000
    burst: int | None = None
    connects: int = 200
    enabled: bool = True

    def __post_init__(self) -> None:
        for name in ("creates", "gets", "others"):
            rate: float | None = getattr(self, name)
            if rate is not None and not 0 < rate < math.inf:
                raise ValueError(
                    f"Limits({name}={rate}): use a number above 0, or None for no limit."
                )
        if self.burst is not None and self.burst < 1:
            raise ValueError(f"Limits(burst={self.burst}): use 1 or more, or None.")
        if self.connects < 1:
            raise ValueError(f"Limits(connects={self.connects}): use 1 or more.")


class TokenBucket:
    """A line for permits, shared by all tasks of a client.

    *per_minute* is the rate (None: no limit); *burst* permits are handed out at once when none
    was used for a while, *opening* of them before the first answer. Use it as

        if bucket.reserve(now) > 0:
            await bucket.turn(bucket.place, clock, sleep)

    and tell it how each request was answered with `observed` or `throttled`.
    """

    __slots__ = (
        "_accepted",
        "_burst",
        "_cut_at",
        "_depth",
        "_due",
        "_gone",
        "_interval",
        "_limit",
        "_opening",
        "_rate",
        "_resumes",
        "_target",
        "place",
    )

    def __init__(
        self, per_minute: float | None, *, burst: int | None = None, opening: int | None = None
    ) -> None:
        self._limit = math.inf if per_minute is None else per_minute / 60
        if burst is None:
            per = 0.0 if per_minute is None else per_minute
            burst = 1 if per < _NO_BURST_BELOW else int(per * _BURST_SHARE)
        self._burst = max(1, burst)
        self._opening = self._burst if opening is None else min(opening, self._burst)
        self._rate = self._limit
        self._interval = 1 / self._rate
        self._depth = (self._opening - 1) * self._interval + _INSTANT
        # When the next permit is due: in the past as far as unused ones reach back.
        self._due = -math.inf
        self._gone: list[int] = []
        self._accepted = 0
        self._cut_at: float | None = None
        self._resumes = -math.inf
        self._target = self._rate
        self.place: int = 0
        """The place in the line that the latest `reserve` took."""

    @property
    def rate(self) -> float:
        """The permits a second that are handed out at present."""
        return self._rate

    def reserve(self, now: float) -> float:
        """Take a place in the line; return the seconds until it is due, 0.0 to go at once."""
        due = self._due
        earliest = now - self._depth
        if due < earliest:  # noqa: PLR1730 - on every request's path, and max() is a call
            due = earliest
        self._due = due + self._interval
        self.place += 1
        return due - now if due > now else 0.0

    def wait(self, place: int, now: float) -> float:
        """Return the seconds until *place* is due as things stand now."""
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
        try:
            while (wait := self.wait(place, clock())) > 0:
                # In parts, because the line may start to move faster.
                await sleep(min(wait, 0.25 + wait / 8))
        except BaseException:
            self.cancelled(place, clock())
            raise

    def cancelled(self, place: int, now: float) -> None:
        """Give up *place*, whose request was not sent: those behind it move up."""
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
        if self._cut_at is not None:
            self._accepted += 1
            self._recover(now)
        if remaining is not None and self._limit < math.inf:
            due = now - (remaining - 1) * self._interval
            if due > self._due:
                # The API says 1 at all times and refills continuously; more is a fixed window.
                due += min(reset, _LONGEST_PAUSE) if remaining < 1 and reset > 1 else 0.0
                self._due = due

    def throttled(self, now: float, retry_after: float | None = None) -> None:
        """Learn from a 429: hold everybody back for *retry_after* seconds, then go slower."""
        if self._limit == math.inf:
            return
        if self._cut_at is None or now > max(self._resumes, self._cut_at + _SAME_STORM):
            self._cut(now)
        # Nobody is due before the end of the pause that is in force already.
        waiting = max(0, math.ceil((self._due - now) / self._interval - _INSTANT) - 1)
        first = max(self._due - waiting * self._interval, self._resumes)
        pause = min(max(retry_after or 0.0, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        self._resumes = max(self._resumes, now + pause)
        self._due = max(self._due, self._due + self._resumes - first, self._resumes)

    def _cut(self, now: float) -> None:
        target = self._rate
        if self._cut_at is not None:
            passed = (self._accepted + 1) / (now - self._cut_at)
            target = min(target, max(passed, target * _DEEPEST_CUT / (1 - _CUT)))
        self._opening = self._burst
        self._cut_at = now
        self._accepted = 0
        self._target = max(target, _LOWEST_RATE)
        self._change(now, self._target * (1 - _CUT))

    def _recover(self, now: float) -> None:
        since = now - self._resumes
        if since > 0:
            steps = since / max(_RECOVERY, _PERMITS / self._target) - 1
            self._change(now, self._target * (1 + _CUT * steps**3))

    def _change(self, now: float, rate: float) -> None:
        """Hand out *rate* permits a second from now on, also to those who already wait."""
        line = (max(self._due, now - self._depth) - now) / self._interval
        if rate >= self._limit:
            rate = self._limit
            self._cut_at = None
            burst = self._burst
        else:
            # Of the server's burst nothing is known any more: what a second brings is safe.
            burst = min(self._burst, max(1, int(rate)))
        self._rate = rate
        self._interval = 1 / rate
        self._depth = (burst - 1) * self._interval + _INSTANT
        self._due = now + line * self._interval

    def _open(self, now: float, remaining: int | None) -> None:
        """Hand out more of the burst: as much as the server says it has, else one an answer."""
        rest = self._burst - self._opening
        more = 1 if remaining is None else min(rest, remaining)
        self._due = max(self._due, now - self._depth) - more * self._interval
        self._opening += 1 if remaining is None else rest
        self._depth = (self._opening - 1) * self._interval + _INSTANT

    def __repr__(self) -> str:
        return f"<TokenBucket {self._rate * 60:.6g} a minute>"


class Pacer:
    """The buckets of a client, one for each of the API's limits."""

    __slots__ = ("create", "get", "other")

    def __init__(self, limits: Limits) -> None:
        on = limits.enabled
        opening = _OPENING if limits.burst is None else None
        creates = limits.creates if on else None
        self.create: TokenBucket = TokenBucket(creates, burst=limits.burst, opening=opening)
        self.get: TokenBucket = TokenBucket(limits.gets if on else None)
        self.other: TokenBucket = TokenBucket(limits.others if on else None)

    def bucket(self, name: BucketName) -> TokenBucket:
        """Return the bucket that an endpoint's requests are counted in."""
        if name == "create":
            return self.create
        return self.get if name == "get" else self.other
