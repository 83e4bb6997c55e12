from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from replicate_async.core.limits import Limits, RateLimiters, allowance


def test_the_opening_is_handed_out_until_an_answer_shows_what_is_left() -> None:
    bucket = RateLimiters(Limits()).buckets["create"]
    assert sum(bucket.reserve(0.0) == 0 for _ in range(600)) == 40
    bucket.observed(0.1, 580, 1.0)
    assert bucket.wait(540, 0.1) == 0
    assert bucket.wait(600, 0.1) == pytest.approx(5.9, abs=0.2)


def test_the_burst_of_creates_is_an_option() -> None:
    limiters = RateLimiters(Limits(burst=7))
    assert sum(limiters.buckets["create"].reserve(0.0) == 0 for _ in range(100)) == 7
    assert sum(limiters.buckets["other"].reserve(0.0) == 0 for _ in range(100)) == 100


def test_a_whole_burst_leaves_a_reserve_in_the_rate() -> None:
    assert allowance(Limits(burst=7), "create") == (582.0, 7, 7)
    assert allowance(Limits(creates=6), "create") == (5.82, 1, 1)
    assert allowance(Limits(), "create") == (600, 540, 40)
    assert allowance(Limits(burst=7), "get") == (60_000, 54_000, 54_000)
    assert allowance(Limits(others=None), "other") == (None, 1, 1)


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(Limits(enabled=False), id="all lifted"),
        pytest.param(
            Limits(creates=None, others=None, gets=None),
            id="each lifted",
        ),
    ],
)
def test_without_a_limit_nothing_waits(limits: Limits) -> None:
    limiters = RateLimiters(limits)
    for bucket in (limiters.buckets["create"], limiters.buckets["get"], limiters.buckets["other"]):
        bucket.throttled(0.0, 30.0)
        bucket.observed(0.0, 0, 30.0)
        assert not any(bucket.reserve(0.0) for _ in range(10_000))


def test_each_bucket_has_its_documented_rate() -> None:
    limiters = RateLimiters(Limits())
    assert repr(limiters.buckets["create"]) == "<TokenBucket 600 a minute>"
    assert repr(limiters.buckets["get"]) == "<TokenBucket 60000 a minute>"
    assert repr(limiters.buckets["other"]) == "<TokenBucket 3000 a minute>"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: Limits(creates=0), "creates=0", id="none"),
        pytest.param(lambda: Limits(gets=-1), "gets=-1", id="negative"),
        pytest.param(lambda: Limits(others=math.nan), "others=nan", id="nan"),
        pytest.param(lambda: Limits(burst=0), r"burst=0\): use 1", id="no burst"),
        pytest.param(lambda: Limits(connects=0), r"connects=0\): use 1", id="no connection"),
    ],
)
def test_values_that_make_no_sense_are_refused(make: Callable[[], Limits], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_next_permit_can_be_foretold_without_taking_it() -> None:
    bucket = RateLimiters(Limits(creates=600, burst=2)).buckets["create"]
    first = [bucket.delay(0.0, ahead) for ahead in range(5)]
    assert first == pytest.approx([max(0.0, (ahead - 1) * 0.103) for ahead in range(5)], abs=1e-3)
    taken = [bucket.reserve(0.0) for _ in range(5)]
    assert taken == pytest.approx(first, abs=1e-5)
    assert RateLimiters(Limits(enabled=False)).buckets["create"].delay(0.0, 100) == 0.0
