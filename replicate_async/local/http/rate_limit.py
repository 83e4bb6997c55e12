"""Token buckets of requests a minute, refilled continuously."""

from __future__ import annotations

import math
from dataclasses import dataclass

from replicate_async.local.clock import Clock
from replicate_async.local.http.errors import throttled
from replicate_async.local.settings import RateLimits


@dataclass
class _Bucket:
    tokens: float
    filled: float


class RateLimiter:
    """The buckets of all accounts."""

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        self._capacity = {"create": limits.create, "get": limits.get, "other": limits.other}
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, account: str, bucket: str) -> dict[str, str]:
        """Count one request and return the headers that say what is left.

        Raises the 429 `Problem` when the bucket is empty.
        """
        capacity = self._capacity[bucket]
        if capacity <= 0:
            return {}
        now = self._clock.now()
        state = self._buckets.setdefault((account, bucket), _Bucket(capacity, now))
        refill = (now - state.filled) * capacity / 60
        state.tokens = min(float(capacity), state.tokens + max(0.0, refill))
        state.filled = now
        if state.tokens < 1:
            wait = math.ceil((1 - state.tokens) * 60 / capacity)
            refusal = throttled(max(1, wait))
            refusal.headers |= _headers(0)
            raise refusal
        state.tokens -= 1
        return _headers(int(state.tokens))


def _headers(remaining: int) -> dict[str, str]:
    return {"ratelimit-remaining": str(remaining), "ratelimit-reset": "1"}
