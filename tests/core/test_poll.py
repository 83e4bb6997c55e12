from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.poll import TERMINAL, Poll, is_terminal


def polls(poll: Poll, status: str, until: float, draw: Callable[[], float]) -> Iterator[float]:
    """Yield the times at which a run that keeps one status is polled."""
    now = 0.0
    attempt = 1
    while (now := now + poll.delay(status, now, attempt, draw())) < until:
        attempt += 1
        yield now


@pytest.mark.parametrize(
    ("status", "until", "most"),
    [
        pytest.param("starting", 1, 6, id="the first second"),
        pytest.param("starting", 10, 17, id="ten seconds"),
        pytest.param("starting", 60, 30, id="a minute in the queue"),
        pytest.param("processing", 60, 48, id="a minute of work"),
        pytest.param("starting", 3600, 920, id="an hour in the queue"),
        pytest.param("queued", 3600, 920, id="an hour in an unknown status"),
        pytest.param("processing", 3600, 2050, id="an hour of work"),
    ],
)
def test_a_long_run_is_not_polled_often(status: str, until: float, most: int) -> None:
    assert most * 0.8 <= len(list(polls(Poll(), status, until, lambda: 0.5))) <= most


@pytest.mark.parametrize("end", [0.05, 0.1, 0.2, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_the_end_of_a_quick_run_is_seen_within_a_quarter_of_a_second(
    end: float, jitter: float
) -> None:
    seen = next(at for at in polls(Poll(), "processing", 9, lambda: jitter) if at >= end)
    assert seen - end <= 0.2501


@given(
    end=st.floats(0.01, 2000),
    status=st.sampled_from(["starting", "processing"]),
    seed=st.integers(),
)
def test_polling_adds_a_quarter_or_the_longest_pause_at_most(
    end: float, status: str, seed: int
) -> None:
    longest = 5.0 if status == "starting" else 2.0
    seen = next(at for at in polls(Poll(), status, 9999, random.Random(seed).random) if at >= end)
    assert seen - end <= min(longest, max(0.2501, end * 0.2501))


def test_a_run_at_work_is_polled_more_often_than_a_queued_one() -> None:
    poll = Poll()
    assert poll.delay("starting", 120.0, 30, 0.0) == 5.0
    assert poll.delay("processing", 120.0, 30, 0.0) == 2.0
    assert poll.delay("processing", 0.0, 30, 0.0) == 0.25


def test_the_pauses_of_a_status_never_shrink() -> None:
    times = list(polls(Poll(), "starting", 300, lambda: 0.0))
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(waits))


def test_jitter_is_uniform_over_a_fifth() -> None:
    draw = random.Random(3).random
    waits = [Poll().delay("starting", 100.0, 30, draw()) for _ in range(10_000)]
    bins = Counter(int((5.0 - wait) * 10) for wait in waits)
    assert sorted(bins) == list(range(10))
    assert all(abs(count - 1_000) <= 200 for count in bins.values())


@given(
    status=st.text(),
    elapsed=st.floats(-1e9, 1e9),
    attempt=st.integers(1, 10**9),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_a_pause_is_never_shorter_than_the_first_nor_longer_than_the_longest(
    status: str, elapsed: float, attempt: int, jitter: float
) -> None:
    assert 0.08 <= Poll().delay(status, elapsed, attempt, jitter) <= 5.0


def test_the_pace_can_be_chosen() -> None:
    poll = Poll(first=0.5, starting=30.0, processing=10.0)
    assert poll.delay("starting", 0.0, 1, 0.0) == 0.5
    assert poll.delay("starting", 0.0, 9, 0.0) == 0.5
    assert poll.delay("starting", 1e6, 9, 0.0) == 30.0
    assert poll.delay("processing", 1e6, 9, 0.0) == 10.0
    assert Poll(first=1, starting=1, processing=1).delay("starting", 9.0, 9, 0.0) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: Poll(first=0), r"first=0\): use a finite", id="no wait"),
        pytest.param(lambda: Poll(first=math.nan), "first=nan", id="not a number"),
        pytest.param(lambda: Poll(first=math.inf), "first=inf", id="never"),
        pytest.param(lambda: Poll(first=6), r"starting=5.0\): use .* 6 \(first\)", id="too late"),
        pytest.param(lambda: Poll(processing=0.01), "processing=0.01", id="too soon"),
        pytest.param(lambda: Poll(starting=math.nan), "starting=nan", id="not a longest"),
    ],
)
def test_invalid_values_are_refused(make: Callable[[], Poll], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("status", "completed", "over"),
    [
        ("starting", False, False),
        ("processing", False, False),
        ("succeeded", True, True),
        ("succeeded", False, True),
        ("failed", True, True),
        ("canceled", False, True),
        ("aborted", False, True),
        ("paused", False, False),
        ("exploded", True, True),
        pytest.param("processing", True, False, id="the files are still being uploaded"),
        pytest.param("", False, False, id="no status"),
    ],
)
def test_a_run_is_over_when_its_status_or_its_end_says_so(
    status: str, completed: bool, over: bool
) -> None:
    assert is_terminal(status, completed) is over


def test_the_terminal_statuses_are_four() -> None:
    assert sorted(TERMINAL) == ["aborted", "canceled", "failed", "succeeded"]
