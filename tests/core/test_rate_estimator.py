from __future__ import annotations

import statistics
from itertools import pairwise

import pytest

from replicate_async.core.bucket import TokenBucket
from replicate_async.core.limits import Limits, RateLimiters
from replicate_async.core.rate_estimator import RESERVE, RateEstimator
from tests.support.storm import Server, World, storm


def late(moments: list[float], start: float = 1005.0) -> int:
    return sum(moment > start for moment in moments)


@pytest.mark.parametrize(
    ("per_minute", "burst", "headers", "whole_seconds"),
    [
        pytest.param(600, 600, True, True, id="the documented limit"),
        pytest.param(600, 20, False, True, id="the right rate and a small burst"),
        pytest.param(6_000, 5, False, True, id="a tenth and a small burst"),
        pytest.param(6_000, 20, False, True, id="a tenth of what was thought"),
        pytest.param(6_000, 20, True, True, id="a tenth, and headers"),
        pytest.param(6_000, 20, False, False, id="a tenth, and exact waits"),
        pytest.param(60_000, 10, False, True, id="a hundredth"),
        pytest.param(60_000, 600, False, True, id="a hundredth and a large burst"),
    ],
)
def test_five_hundred_tasks_run_at_the_limit_of_the_server(
    per_minute: float, burst: float, headers: bool, whole_seconds: bool
) -> None:
    server = Server(World(), 10, burst, headers=headers, whole_seconds=whole_seconds)
    weather = storm(server, TokenBucket(per_minute, opening=40))
    served, refused = late(server.accepted), late(server.rejected)
    assert served >= 0.9 * 550
    assert refused <= 0.1 * (served + refused)
    assert weather.given_up <= 40


@pytest.mark.parametrize("per_minute", [600, 700, 6_000, 60_000])
@pytest.mark.parametrize(
    # To be sure of 100 ms between arrivals that differ by 30, requests have to leave every 130 ms.
    ("jitter", "share"),
    [(0.0, 0.9), pytest.param(0.002, 0.9, marks=pytest.mark.slow), (0.03, 0.9 / 1.3)],
)
def test_a_server_without_a_burst_costs_a_tenth_more_than_the_network(
    per_minute: float, jitter: float, share: float
) -> None:
    server = Server(World(), 10, burst=1)
    weather = storm(server, TokenBucket(per_minute, opening=40), jitter=jitter, seconds=120)
    assert late(server.accepted) >= share * 1150
    assert late(server.rejected) <= 0.02 * late(server.accepted)
    assert weather.given_up == 0


@pytest.mark.parametrize("jitter", [0.0, 0.002])
def test_a_limit_that_is_known_with_its_burst_is_used_and_never_exceeded(jitter: float) -> None:
    server = Server(World(), 10, burst=1)
    storm(server, RateLimiters(Limits(creates=600, burst=1)).buckets["create"], jitter=jitter)
    assert not server.rejected
    assert len(server.accepted) >= 0.95 * 600


@pytest.mark.parametrize("burst", [1, 20])
@pytest.mark.parametrize("per_minute", [600, 6_000, pytest.param(60_000, marks=pytest.mark.slow)])
def test_no_request_starves_in_a_storm(per_minute: float, burst: float) -> None:
    server = Server(World(), 10, burst)
    weather = storm(server, TokenBucket(per_minute, opening=40), jitter=0.002, seconds=300)
    waits = sorted(weather.waits)[500:]  # the first round also holds the head start of the burst
    assert weather.given_up == 0
    assert max(waits) <= 1.5 * statistics.median(waits)


@pytest.mark.parametrize(
    ("per_minute", "opening"),
    [pytest.param(600, 40, id="creations"), pytest.param(3_000, None, id="everything else")],
)
def test_the_documented_limits_are_never_exceeded(per_minute: float, opening: int | None) -> None:
    server = Server(World(), per_minute / 60, per_minute, headers=True)
    storm(server, TokenBucket(per_minute, opening=opening), seconds=120)
    assert not server.rejected
    # Nine tenths of the burst, and then the rate.
    assert len(server.accepted) >= per_minute * 2.85


@pytest.mark.parametrize(
    ("named", "share", "refused"),
    [
        pytest.param((6, 1), 0.95, 41, id="which it names"),
        pytest.param(None, 0.7, 65, id="which it does not name"),
    ],
)
def test_an_account_with_little_credit_gets_its_six_a_minute(
    named: tuple[float, int] | None, share: float, refused: int
) -> None:
    server = Server(World(), 0.1, burst=1, named=named)
    storm(server, RateLimiters(Limits()).buckets["create"], tasks=50, seconds=1200)
    assert len(server.accepted) >= share * 120
    assert len(server.rejected) <= refused


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [pytest.param(True, 75.0, id="as headers show"), pytest.param(False, 700.0, id="after a test")],
)
def test_a_rate_that_was_named_holds_until_more_is_allowed(headers: bool, seconds: float) -> None:
    world = World()
    server = Server(world, 0.1, burst=1, headers=headers, named=(6, 1))
    bucket = RateLimiters(Limits()).buckets["create"]

    async def pay() -> None:
        await world.sleep(60)
        server.rate, server.burst = 10.0, 600.0

    world.spawn(pay())
    storm(server, bucket, seconds=seconds)
    assert bucket.rate == 10.0
    assert 1 < len([moment for moment in server.accepted if moment < 1060]) <= 7
    # The refused requests of the opening, and none since.
    assert len(server.rejected) <= 40


def test_headers_that_promise_more_than_is_given_are_believed_ever_less() -> None:
    estimator = RateEstimator(10.0)
    restored: list[int] = []
    for second in range(1600):
        if estimator.settled:
            estimator.named(second, second + 1, 0.1, 1)
        estimator.accepted(second + 0.5, 599)
        if estimator.settled:
            restored.append(second)
    gaps = [after - before for before, after in pairwise(restored)]
    assert gaps == pytest.approx([60, 120, 240, 480, 600], abs=2)


def test_a_rate_that_is_named_is_gone_at_with_a_reserve() -> None:
    bucket = TokenBucket(600)
    bucket.throttled(0.0, 7.0, 60, 5)
    assert bucket.rate == pytest.approx(RESERVE)
    assert bucket.reserve(0.0) == pytest.approx(7.0, abs=1e-4)


def test_a_rate_above_the_present_one_is_no_reason_to_go_faster() -> None:
    bucket = TokenBucket(600)
    bucket.throttled(0.0, 1.0, 3_000, None)
    assert bucket.rate < 10


def test_a_second_rate_that_is_named_replaces_the_first() -> None:
    bucket = TokenBucket(600)
    bucket.throttled(0.0, 1.0, 6, 1)
    bucket.throttled(1.0, 1.0, 60, None)
    assert bucket.rate == pytest.approx(RESERVE)


def test_the_rate_comes_back_when_the_server_recovers() -> None:
    estimator = RateEstimator(10.0)
    estimator.refused(1.0, 8.0)
    assert estimator.rate == pytest.approx(9.4)
    estimator.accepted(7.9)
    assert estimator.rate == pytest.approx(9.4)
    for second in range(9, 40):
        estimator.accepted(float(second))
    assert estimator.rate == 10.0


def test_what_was_learned_is_forgotten_when_it_holds_no_more() -> None:
    estimator = RateEstimator(10.0)
    estimator.refused(1.0, 2.0)
    for second in range(3, 640):
        estimator.accepted(float(second))
    assert estimator.settled


def test_refusals_with_nothing_between_them_say_little_of_the_rate() -> None:
    """Another process may have taken all there was."""
    estimator = RateEstimator(10.0)
    for now in (0.0, 3.0, 6.0):
        estimator.refused(now, now + 1)

    assert estimator.rate > 0.5


def test_refusals_of_one_burst_lower_the_rate_once() -> None:
    estimator = RateEstimator(10.0)
    for moment in range(50):
        estimator.refused(1.0 + moment / 100, 2.0 + moment / 100)
    assert estimator.rate == pytest.approx(9.4)
