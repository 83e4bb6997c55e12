"""How fast requests may leave, so that a batch runs at the API's limit without being refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from replicate_async.core.bucket import TokenBucket, usual_burst
from replicate_async.core.rate_estimator import RESERVE

__all__ = ["Allowance", "BucketName", "Limiter", "Limits", "RateLimiters", "allowance"]

BucketName: TypeAlias = Literal["create", "get", "other"]

# The permits given out before any answer came: an account's true limit may be far lower.
_OPENING: Final = 40


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


class Allowance(NamedTuple):
    """What a bucket hands out: *per_minute*, *burst* at once, *opening* before the first answer."""

    per_minute: float | None
    burst: int
    opening: int


def allowance(limits: Limits, kind: BucketName) -> Allowance:
    """Return what *limits* allow of one *kind* of request."""
    per_minute = {"create": limits.creates, "get": limits.gets, "other": limits.others}[kind]
    if not limits.enabled or per_minute is None:
        return Allowance(None, 1, 1)
    burst = usual_burst(per_minute)
    opening = burst
    if kind == "create":
        opening = min(burst, _OPENING)
        if limits.burst is not None:
            burst = opening = limits.burst
    if burst == 1 or (kind == "create" and limits.burst is not None):
        # The server's whole burst is used, so nothing makes up for what the network delays.
        per_minute *= RESERVE
    return Allowance(per_minute, burst, opening)


class Limiter(Protocol):
    """What keeps the pace of several processes together, in place of a client's own pacer.

    One that fetches permits from elsewhere may fetch several at a time; those who wait are to be
    served in the order in which they came.
    """

    async def acquire(self, kind: BucketName) -> None:
        """Wait until one more request of this *kind* may be sent; raise to refuse it."""
        ...

    def on_rate_limited(
        self, kind: BucketName, seconds: float, per_minute: float | None = None
    ) -> None:
        """Learn of a 429: nobody may send for *seconds*, then at most *per_minute* if it said so.

        Must not block.
        """
        ...


class RateLimiters:
    """The buckets of a client, one for each of the API's limits."""

    __slots__ = ("buckets", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits: Limits = limits
        kinds: tuple[BucketName, ...] = ("create", "get", "other")
        self.buckets: Mapping[BucketName, TokenBucket] = {
            kind: _bucket(limits, kind) for kind in kinds
        }


def _bucket(limits: Limits, kind: BucketName) -> TokenBucket:
    per_minute, burst, opening = allowance(limits, kind)
    return TokenBucket(per_minute, burst=burst, opening=opening)
