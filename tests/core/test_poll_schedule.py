"""When to poll each of many runs; without a clock."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.durations import Durations
from replicate_async.core.poll import Poll
from replicate_async.core.poll_schedule import PolledRun, PollSchedule


def schedule(durations: Durations | None = None, jitter: float = 0.0) -> PollSchedule[PolledRun]:
    return PollSchedule(durations or Durations(), lambda: jitter)


TIMES = st.floats(0.0, 3.0).filter(math.isfinite)
STEPS = st.lists(
    st.tuples(st.sampled_from(["push", "discard", "pop"]), st.integers(0, 9), TIMES), max_size=60
)


@given(STEPS)
def test_a_run_is_due_at_the_time_of_its_last_push_and_at_no_other(
    steps: list[tuple[str, int, float]],
) -> None:
    table, runs = schedule(), [PolledRun(f"{at}", 0.0) for at in range(10)]
    expected: dict[int, float] = {}
    for step, at, moment in steps:
        if step == "push":
            table.push(runs[at], moment)
            expected[at] = moment
        elif step == "discard":
            table.discard(runs[at])
            expected.pop(at, None)
        else:
            due = {key for key, when in expected.items() if when <= moment}
            assert {runs.index(run) for run in table.pop_due(moment)} == due
            for key in due:
                del expected[key]
        assert table.next_due() == min(expected.values(), default=math.inf)
        assert len(table) == len(expected)


def test_due_runs_are_popped_in_order_once_and_no_more_than_the_limit() -> None:
    table, rng = schedule(), Random(1)
    runs = [PolledRun(f"{at}", 0.0) for at in range(500)]
    for run in runs:
        table.push(run, rng.uniform(0, 100))

    popped = table.pop_due(50.0, 10) + table.pop_due(50.0) + table.pop_due(100.0)

    assert popped == sorted(runs, key=lambda run: run.due)
    assert table.next_due() == math.inf


def test_removed_and_moved_runs_do_not_pile_up() -> None:
    table, kept = schedule(), PolledRun("kept", 0.0)
    for at in range(10_000):
        run = PolledRun(f"{at}", 0.0)
        table.push(run, float(at))
        table.discard(run)
        table.push(kept, 1e5 + at)

    assert len(table) == 1
    assert len(table._heap) < 100  # pyright: ignore[reportPrivateUsage] - what is tested
    assert table.pop_due(math.inf) == [kept]
    table.discard(kept)


def known(early: float, late: float) -> Durations:
    durations = Durations()
    for at in range(20):
        seconds = early + (late - early) * at / 19
        durations.record("m", "v", created=0.0, started=0.0, ended=seconds)
    return durations


def processing(age: float, now: float = 1000.0) -> PolledRun:
    run = PolledRun("p", now)
    run.version, run.status = ("m", "v"), "processing"
    run.created = run.started = now - age
    return run


def test_the_next_poll_comes_after_a_pause_and_a_page_replaces_it_before() -> None:
    table, run = schedule(), processing(0.0)
    table.push_next(run, 1000.0)

    assert 1000.0 < run.ripe_at < run.due <= 1000.25
    assert table.pop_due(run.due) == [run]


def test_polls_are_few_before_the_usual_end_close_around_it_and_rare_after() -> None:
    table = schedule(known(30, 36))
    table.set_times(processing(0.0), 1000.0, 1000.0, 1000.0)

    young, near, late = (table.pause(processing(age), 1000.0) for age in (15.0, 32.0, 60.0))

    assert 14 < young <= 16
    assert near < 2.0
    assert near < late <= Poll().processing


def test_an_early_end_is_seen_before_a_run_is_twice_as_old() -> None:
    table = schedule(known(100, 110))
    table.set_times(processing(0.0), 1000.0, 1000.0, 1000.0)

    assert table.pause(processing(20.0), 1000.0) == pytest.approx(20.0)


def test_a_given_pace_and_a_watch_ignore_typical_durations() -> None:
    table = schedule(known(100, 110))
    given, watched = processing(20.0), processing(20.0)
    given.poll, watched.wants_updates = Poll(first=0.5, starting=0.5, processing=0.5), True

    assert table.pause(given, 1000.0) == 0.5
    assert table.pause(watched, 1000.0) < 1.0


def test_jitter_only_shortens_a_pause() -> None:
    for age in (5.0, 31.0, 50.0):
        full, short = (schedule(known(30, 36), jitter) for jitter in (0.0, 0.99))
        for table in (full, short):
            table.set_times(processing(0.0), 1000.0, 1000.0, 1000.0)
        assert short.pause(processing(age), 1000.0) <= full.pause(processing(age), 1000.0)
