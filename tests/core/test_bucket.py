from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.bucket import TokenBucket
from tests.support.storm import World


def about(seconds: float | list[float]) -> object:
    return pytest.approx(seconds, abs=1e-4)


def test_a_burst_leaves_at_once_and_then_the_rate() -> None:
    bucket = TokenBucket(600)
    waits = [bucket.reserve(50.0) for _ in range(560)]
    assert waits[:540] == [0.0] * 540
    assert waits[540:] == about([n / 10 for n in range(1, 21)])


def test_unused_permits_do_not_pile_up_beyond_the_burst() -> None:
    bucket = TokenBucket(600)
    bucket.reserve(0.0)
    assert sum(bucket.reserve(1e6) == 0 for _ in range(1000)) == 540
    assert sum(bucket.reserve(1e6 + 60) == 0 for _ in range(1000)) == 140


def test_less_than_one_a_second_comes_without_a_burst() -> None:
    bucket = TokenBucket(6)
    assert [bucket.reserve(5.0) for _ in range(3)] == about([0.0, 10.0, 20.0])


def test_a_burst_leaves_at_once_after_the_rate_has_changed_too() -> None:
    bucket = TokenBucket(600)
    bucket.throttled(0.0, 1.0, per_minute=60, burst=4)
    for now in (1000.0, 2000.0):
        assert sum(bucket.reserve(now) == 0 for _ in range(10)) == 4


def test_without_headers_each_answer_opens_one_more() -> None:
    bucket = TokenBucket(600, opening=1)
    places = [(bucket.reserve(0.0), bucket.place)[1] for _ in range(4)]
    bucket.observed(0.0)
    assert [bucket.wait(place, 0.0) == 0 for place in places] == [True, True, False, False]


def test_what_the_server_says_is_left_is_not_exceeded() -> None:
    bucket = TokenBucket(600)
    bucket.observed(0.0, 3, 1.0)
    assert sum(bucket.reserve(0.0) == 0 for _ in range(10)) == 3


def test_a_fixed_window_that_is_used_up_is_waited_for() -> None:
    bucket = TokenBucket(600)
    bucket.observed(0.0, 0, 30.0)
    assert bucket.reserve(0.0) == about(30.1)


def test_a_refusal_holds_back_waiting_requests() -> None:
    bucket = TokenBucket(600, burst=1)
    bucket.reserve(0.0)
    assert bucket.reserve(0.0) == about(0.1)
    place = bucket.place
    bucket.throttled(0.05, 7.0)
    assert bucket.wait(place, 0.05) == about(7.0)
    assert bucket.reserve(0.05) == about(7.0 + 1 / 9.4)


@pytest.mark.parametrize("asked", [None, 86_400.0])
def test_a_pause_is_neither_nothing_nor_endless(asked: float | None) -> None:
    bucket = TokenBucket(600)
    bucket.throttled(0.0, asked)
    assert bucket.reserve(0.0) == about(0.25 if asked is None else 60.0)


def test_those_behind_a_cancelled_place_move_up_and_those_before_it_do_not() -> None:
    bucket = TokenBucket(60, burst=1)
    for _ in range(6):
        bucket.reserve(0.0)
    bucket.cancelled(3, 0.0)
    bucket.cancelled(5, 0.0)
    assert [bucket.wait(place, 0.0) for place in (2, 4, 6)] == about([1.0, 2.0, 3.0])
    assert bucket.reserve(0.0) == about(4.0)


def test_a_cancelled_task_leaves_the_line() -> None:
    world = World()
    bucket = TokenBucket(60, burst=1)
    bucket.reserve(world.now)
    bucket.reserve(world.now)
    turn = bucket.turn(bucket.place, world.clock, world.sleep)
    turn.send(None)
    with pytest.raises(KeyboardInterrupt):
        turn.throw(KeyboardInterrupt())
    assert bucket.reserve(world.now) == about(1.0)


def test_a_repeat_goes_ahead_of_first_attempts() -> None:
    bucket = TokenBucket(60, burst=1)
    bucket.reserve(0.0)
    places = [(bucket.reserve(0.0), bucket.place)[1] for _ in range(3)]
    first, wait = bucket.reserve_front(0.5)
    assert wait == about(0.5)
    second, wait = bucket.reserve_front(0.5)
    assert wait == about(1.5)
    assert [bucket.wait(place, 0.5) for place in places] == about([2.5, 3.5, 4.5])
    assert bucket.wait(first, 1.0) == 0
    assert bucket.wait(second, 1.0) == about(1.0)


def test_a_repeat_goes_at_once_when_none_waits() -> None:
    bucket = TokenBucket(60, burst=1)
    place, wait = bucket.reserve_front(0.0)
    assert (place, wait) == (bucket.place, 0)


def test_a_refusal_holds_back_repeats() -> None:
    bucket = TokenBucket(60, burst=1)
    for _ in range(3):
        bucket.reserve(0.0)
    place, _ = bucket.reserve_front(0.5)
    bucket.throttled(0.6, 7.0)
    assert bucket.wait(place, 0.6) == about(7.0)


def test_the_place_of_a_repeat_can_be_given_up() -> None:
    bucket = TokenBucket(60, burst=1)
    for _ in range(3):
        bucket.reserve(0.0)
    place, _ = bucket.reserve_front(0.5)
    bucket.cancelled(place, 0.5)
    after, wait = bucket.reserve_front(0.5)
    assert after != place
    assert wait == about(1.5)


def test_a_request_that_wakes_too_late_keeps_to_a_pause() -> None:
    world = World()
    bucket = TokenBucket(600, burst=1)
    for _ in range(3):
        bucket.reserve(world.now)
    sent: list[float] = []

    async def sleepy(place: int) -> None:
        async def sleep(seconds: float) -> None:
            await world.sleep(seconds + 0.1)

        await bucket.turn(place, world.clock, sleep)
        sent.append(world.now)

    world.spawn(sleepy(2))
    world.spawn(sleepy(3))

    async def refusal() -> None:
        await world.sleep(0.15)
        bucket.throttled(world.now, 5.0)

    world.spawn(refusal())
    world.run()
    assert len(sent) == 2
    assert min(sent) >= 1005.15


@pytest.mark.parametrize("burst", [1, 5])
def test_a_standstill_is_not_made_up_for_by_a_heap(burst: int) -> None:
    world = World()
    bucket = TokenBucket(600, burst=burst)
    sent: list[float] = []
    again: list[float] = []

    async def sleep(seconds: float) -> None:
        wakes = world.now + seconds
        await world.sleep(1004.5 - world.now if 1002 < wakes < 1004.5 else seconds)

    async def task() -> None:
        if bucket.reserve(world.now) > 0:
            await bucket.turn(bucket.place, world.clock, sleep)
        sent.append(world.now)

    async def repeat() -> None:
        await world.sleep(1.0)
        place, _ = bucket.reserve_front(world.now)
        await bucket.turn(place, world.clock, sleep)
        again.append(world.now)

    for _ in range(100):
        world.spawn(task())
    world.spawn(repeat())
    world.run()
    assert len(sent) == 100
    assert sum(moment == 1004.5 for moment in sent) <= burst + 1
    assert max(sent) == pytest.approx(1012.7 - 0.2 * burst, abs=0.2)
    assert again[0] < 1001.2


def test_an_account_that_paid_is_tried_by_few() -> None:
    bucket = TokenBucket(600)
    bucket.throttled(0.0, 1.0, 6, 1)
    bucket.observed(20.0, 599)
    assert bucket.rate == 10
    bucket = TokenBucket(600)
    bucket.throttled(0.0, 1.0, 6, 1)
    bucket.observed(601.0)
    assert bucket.rate == 10
    assert sum(bucket.reserve(601.0) == 0 for _ in range(100)) <= 2


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["reserve", "cancel", "429", "ok"]), st.floats(0, 5)),
        max_size=60,
    ),
    per_minute=st.floats(1, 1e5),
)
def test_the_queue_keeps_its_order(steps: list[tuple[str, float]], per_minute: float) -> None:
    bucket = TokenBucket(per_minute, opening=5)
    now = 0.0
    line: list[int] = []
    for step, passed in steps:
        now += passed
        line = [place for place in line if bucket.wait(place, now) > 0]
        if step == "reserve":
            if bucket.reserve(now) > 0:
                line.append(bucket.place)
        elif step == "cancel" and line:
            bucket.cancelled(line.pop(len(line) // 2), now)
        elif step == "429":
            bucket.throttled(now, passed)
        elif step == "ok":
            bucket.observed(now, 100 if passed < 1 else None)
        waits = [bucket.wait(place, now) for place in line]
        assert waits == sorted(waits)
        assert all(math.isfinite(wait) for wait in waits)
        assert 0 < bucket.rate <= per_minute / 60
