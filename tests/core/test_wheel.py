"""What is due when, beside a sorted list."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.wheel import Timed, Wheel

MOMENTS = st.floats(0.0, 3.0).filter(math.isfinite)
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "drop", "take"]), st.integers(0, 9), MOMENTS), max_size=60
)


@given(STEPS)
def test_an_entry_is_due_at_the_time_it_was_given_last_and_at_no_other(
    steps: list[tuple[str, int, float]],
) -> None:
    wheel: Wheel[Timed] = Wheel()
    entries = [Timed() for _ in range(10)]
    expected: dict[int, float] = {}
    for step, at, moment in steps:
        if step == "put":
            wheel.put(entries[at], moment)
            expected[at] = moment
        elif step == "drop":
            wheel.drop(entries[at])
            expected.pop(at, None)
        else:
            due = {key for key, when in expected.items() if when <= moment}
            assert {entries.index(entry) for entry in wheel.take(moment)} == due
            for key in due:
                del expected[key]
        assert wheel.next_at() == min(expected.values(), default=None)


def test_many_that_were_put_and_dropped_leave_nothing_behind() -> None:
    wheel: Wheel[Timed] = Wheel()
    stays = Timed()
    wheel.put(stays, 5e5)
    for at in range(100_000):
        entry = Timed()
        wheel.put(entry, float(at))
        wheel.drop(entry)

    assert wheel.next_at() == 5e5
    assert len(wheel) < 100
    assert wheel.take(math.inf) == [stays]
    assert len(wheel) == 0
