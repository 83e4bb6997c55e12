"""The bounds of the API's time, from answers that name it in whole seconds."""

from __future__ import annotations

import math
from email.utils import formatdate
from random import Random

import pytest

from replicate_async.core.api_clock import ApiClock, Moment, answered_at, moment


def at(awake: float, *, slept: float = 0.0, wall: float = 0.0) -> Moment:
    return Moment(awake, awake + slept, awake + wall)


def dated(seconds: float, **more: str) -> dict[str, str]:
    return {"date": formatdate(seconds, usegmt=True), **more}


def bounds(clock: ApiClock, when: Moment) -> tuple[float, float]:
    earliest, latest = clock.earliest(when), clock.latest(when)
    assert earliest is not None
    assert latest is not None
    return earliest, latest


def test_nothing_is_known_before_an_answer_with_a_date() -> None:
    clock = ApiClock()
    for headers in ({}, {"date": "at noon"}, dated(1e9, age="0")):
        clock.observe(headers, 1.0, at(2.0))
    assert not clock.known
    assert clock.earliest() is None
    assert clock.latest() is None


def test_answers_narrow_the_bounds_and_they_hold() -> None:
    """With any latency, and any difference of the clocks."""
    rng = Random(7)
    clock, offset, now = ApiClock(), 1.7e9, 1000.0
    for _ in range(200):
        sent = now + rng.random()
        answered = sent + rng.random() / 2
        written = rng.uniform(sent, answered)
        clock.observe(dated(written + offset), sent, at(answered))
        now = answered
        earliest, latest = bounds(clock, at(now))
        assert earliest <= now + offset <= latest
    earliest, latest = bounds(clock, at(now))
    assert latest - earliest < 1.0
    earlier = at(now - 300)
    assert bounds(clock, earlier)[0] <= now - 300 + offset <= bounds(clock, earlier)[1]


def test_a_date_older_than_its_request_teaches_nothing() -> None:
    clock = ApiClock()
    clock.observe(dated(5000.0), 10.0, at(10.0))
    before = bounds(clock, at(20.0))
    for second in range(1, 9):
        clock.observe(dated(5000.0), 10.0 + second, at(10.0 + second))
    assert bounds(clock, at(20.0))[0] == pytest.approx(before[0], abs=0.01)
    assert bounds(clock, at(20.0))[1] >= 5009.9


def test_a_later_date_widens_the_bounds_until_the_next_says_which_is_right() -> None:
    for second, right in ((5060.0, True), (5011.0, False)):
        clock = ApiClock()
        clock.observe(dated(5000.0), 10.0, at(10.0))
        clock.observe(dated(5050.0), 11.0, at(11.0))
        earliest, latest = bounds(clock, at(11.0))
        assert earliest < 5001.1
        assert latest > 5050.9
        clock.observe(dated(second), 21.0, at(21.0))
        earliest, latest = bounds(clock, at(21.0))
        assert latest - earliest < 1.1
        assert (earliest > 5050) is right


@pytest.mark.parametrize("counted_by", ["running", "wall"])
def test_a_sleep_that_another_clock_counts_moves_the_upper_bound_alone(counted_by: str) -> None:
    clock = ApiClock()
    clock.observe(dated(5000.0), 10.0, at(10.0))
    woken = at(20.0, slept=900.0) if counted_by == "running" else at(20.0, wall=900.0)
    earliest, latest = bounds(clock, woken)
    assert earliest == pytest.approx(5010.0, abs=0.1)
    assert latest == pytest.approx(5911.0, abs=0.1)


def test_an_answer_that_the_machine_slept_through_lowers_no_upper_bound() -> None:
    clock = ApiClock()
    clock.observe(dated(5000.0), 10.0, at(10.0))
    clock.observe(dated(5001.0), 11.0, at(12.0, slept=900.0))
    assert bounds(clock, at(12.0, slept=900.0))[1] >= 5901.9
    clock.observe(dated(5001.0), 11.0, at(13.0, slept=900.0))
    assert bounds(clock, at(13.0, slept=900.0))[1] >= 5902.9


def test_an_age_says_that_a_cache_answered() -> None:
    assert answered_at(dated(1e9)) == 1e9
    assert answered_at(dated(1e9, age="17")) is None


def test_the_three_clocks_go_on() -> None:
    first, second = moment(), moment()
    assert all(math.isfinite(each) for each in first)
    assert all(after >= before for before, after in zip(first[:2], second[:2], strict=True))
