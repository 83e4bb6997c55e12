from __future__ import annotations

import pytest

from replicate_async.local.clock import Clock
from replicate_async.local.http.errors import Problem
from replicate_async.local.http.rate_limit import RateLimiter
from replicate_async.local.settings import RateLimits


class StoppedClock(Clock):
    """Shows the same time for ever."""

    def now(self) -> float:
        return 1000.0


def test_each_account_has_its_own_bucket() -> None:
    clock = StoppedClock()
    limiter = RateLimiter(RateLimits(create=60), clock)
    for left in range(59, -1, -1):
        assert limiter.take("a", "create")["ratelimit-remaining"] == str(left)

    with pytest.raises(Problem) as refusal:
        limiter.take("a", "create")

    assert refusal.value.headers["Retry-After"] == "1"
    assert limiter.take("b", "create")["ratelimit-remaining"] == "59"
    assert RateLimiter(RateLimits.off(), clock).take("a", "get") == {}
