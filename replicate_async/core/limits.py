"""The rate limits of the API: how many requests may leave, and how fast."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from replicate_async.core.bucket import TokenBucket, usual_burst
from replicate_async.core.numbers import is_number
from replicate_async.core.rate_estimator import RESERVE

__all__ = ["Allowance", "BucketName", "Limiter", "Limits", "RateLimiters", "allowance"]

BucketName: TypeAlias = Literal["create", "get", "other"]
"""A kind of request, each with a limit of its own."""

# Permits before the first answer: the limit of an account with little credit is far lower.
_OPENING: Final = 40


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests a client sends a minute, and how many connections it opens at a time.

    The defaults are the API's documented limits. A client that is refused all the same goes slower.

    Args:
        creates: Creates of predictions a minute; 600. None: no limit.
        gets: Calls of ``predictions.get`` a minute; 60,000. None: no limit.
        others: Other calls a minute; 3,000. None: no limit.
        burst: Creates that may leave at once after a pause. None: nine tenths of a minute's
            creates, but 40 until the first answer shows that the account has the usual limit.
        connects: Connections that are being opened at the same time; 200.
        enabled: False lifts the limits of all three kinds.

    Raises:
        ValueError: A value is out of range.
    """

    creates: float | None = 600
    gets: float | None = 60_000
    others: float | None = 3_000
    burst: int | None = None
    connects: int = 200
    enabled: bool = True

    def __post_init__(self) -> None:
        for name in ("creates", "gets", "others"):
            rate: object = getattr(self, name)
            if rate is not None and not (is_number(rate, 0) and rate):
                raise ValueError(
                    f"Limits({name}={rate!r}): use a number above 0, or None for no limit."
                )
        for name, none in (("burst", ", or None"), ("connects", "")):
            count: object = getattr(self, name)
            if not (is_number(count, 1, math.inf) or (none and count is None)):
                raise ValueError(f"Limits({name}={count!r}): use 1 or more{none}.")


class Allowance(NamedTuple):
    """Permits of a bucket: *per_minute*, *burst* at once, *opening* before the first answer."""

    per_minute: float | None
    burst: int
    opening: int


def allowance(limits: Limits, kind: BucketName) -> Allowance:
    """Return the permits that *limits* allow for one *kind* of request."""
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
        # The whole burst of the server is used: no permit is left for delays of the network.
        per_minute *= RESERVE
    return Allowance(per_minute, burst, opening)


class Limiter(Protocol):
    """A rate limiter that several processes share, in place of a client's own.

    A limiter may fetch several permits at a time. It serves waiting requests in their order.
    """

    async def acquire(self, kind: BucketName) -> None:
        """Wait until one more request may be sent; raise an error to refuse it.

        Args:
            kind: The kind of the request: "create", "get" or "other".
        """
        ...

    def on_rate_limited(
        self, kind: BucketName, seconds: float, per_minute: float | None = None
    ) -> None:
        """Hold requests back after a 429; must not block.

        Args:
            kind: The kind of the requests.
            seconds: How long they are held back.
            per_minute: The rate that the API named for afterwards, if it did.
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
