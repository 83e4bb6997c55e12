from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.retry import Failure, Phase, Retry, RetryBudget, phase_of_status

NOT_SENT = Failure("not_sent")
AMBIGUOUS = Failure("ambiguous")
THROTTLED = Failure("refused", throttled=True)

jitter = st.floats(0, 1, exclude_max=True)
phases = st.sampled_from(("not_sent", "refused", "ambiguous"))


@pytest.mark.parametrize(
    ("failure", "repeatable", "again"),
    [
        pytest.param(NOT_SENT, True, True, id="a read that was not sent"),
        pytest.param(NOT_SENT, False, True, id="a create that was not sent"),
        pytest.param(THROTTLED, True, True, id="a read that was refused"),
        pytest.param(THROTTLED, False, True, id="a create that was refused"),
        pytest.param(AMBIGUOUS, True, True, id="a read that may have been answered"),
        pytest.param(AMBIGUOUS, False, False, id="a create that may have happened"),
    ],
)
def test_the_phase_decides_whether_a_request_is_repeated(
    failure: Failure, repeatable: bool, again: bool
) -> None:
    assert (Retry().delay(1, failure, repeatable=repeatable, jitter=0.5) is not None) is again


@given(attempt=st.integers(1, 10**6), attempts=st.integers(1, 10**6), jitter=jitter)
def test_a_create_is_never_repeated_after_an_ambiguous_failure(
    attempt: int, attempts: int, jitter: float
) -> None:
    policy = Retry(attempts=attempts)
    failure = Failure("ambiguous", retry_after=1.0)
    assert policy.delay(attempt, failure, repeatable=False, jitter=jitter) is None


def test_attempts_and_budget_may_be_without_end() -> None:
    policy = Retry(attempts=cast("int", math.inf), budget=cast("int", math.inf))
    assert policy.delay(10**9, NOT_SENT, repeatable=True, jitter=0.5) is not None


def test_the_last_attempt_is_final() -> None:
    delays = [Retry().delay(n, NOT_SENT, repeatable=True, jitter=0.5) for n in range(1, 6)]
    assert delays == [0.25, 0.5, 1.0, None, None]


def test_one_attempt_never_repeats() -> None:
    assert Retry(attempts=1).delay(1, NOT_SENT, repeatable=True, jitter=0.0) is None


@pytest.mark.parametrize(
    ("attempt", "failure", "ceiling"),
    [
        pytest.param(1, AMBIGUOUS, 0.5, id="the first repeat"),
        pytest.param(2, AMBIGUOUS, 1.0, id="the second repeat"),
        pytest.param(5, AMBIGUOUS, 8.0, id="the cap reached"),
        pytest.param(6, AMBIGUOUS, 8.0, id="the cap kept"),
        pytest.param(99_999, AMBIGUOUS, 8.0, id="no overflow"),
        pytest.param(1, THROTTLED, 1.0, id="the first repeat after a 429"),
        pytest.param(4, THROTTLED, 8.0, id="the cap reached after a 429"),
    ],
)
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, failure: Failure, ceiling: float) -> None:
    policy = Retry(attempts=100_000)
    assert policy.delay(attempt, failure, repeatable=True, jitter=1.0) == ceiling
    assert policy.delay(attempt, failure, repeatable=True, jitter=0.0) == 0.0


def test_jitter_is_uniform_over_the_whole_range() -> None:
    draw = random.Random(20).random
    delays = [Retry().delay(3, AMBIGUOUS, repeatable=True, jitter=draw()) for _ in range(10_000)]
    bins = Counter(int((delay or 0.0) / 2.0 * 10) for delay in delays)
    assert sorted(bins) == list(range(10))
    assert all(abs(count - 1_000) <= 200 for count in bins.values())


@pytest.mark.parametrize(
    ("asked", "least"),
    [
        pytest.param(0.0, 0.0, id="no wait at all"),
        pytest.param(0.2, 0.2, id="a fraction of a second"),
        pytest.param(7.0, 7.0, id="seven seconds"),
        pytest.param(60.0, 60.0, id="the longest that is obeyed"),
        pytest.param(60.001, None, id="longer than is obeyed"),
        pytest.param(86_400.0, None, id="a day"),
        pytest.param(math.inf, None, id="for ever"),
        pytest.param(math.nan, None, id="not a number"),
    ],
)
def test_the_wait_that_the_server_asks_for_is_obeyed_or_refused(
    asked: float, least: float | None
) -> None:
    failure = Failure("refused", retry_after=asked, throttled=True)
    assert Retry().delay(1, failure, repeatable=False, jitter=0.0) == least


def test_a_batch_told_to_wait_does_not_come_back_in_lock_step() -> None:
    draw = random.Random(7).random
    failure = Failure("refused", retry_after=30.0, throttled=True)
    delays = [Retry().delay(1, failure, repeatable=True, jitter=draw()) or 0 for _ in range(10_000)]
    bins = Counter(int((delay - 30.0) * 10) for delay in delays)
    assert sorted(bins) == list(range(10))
    assert all(abs(count - 1_000) <= 200 for count in bins.values())


@given(
    attempt=st.integers(1, 200),
    phase=phases,
    asked=st.none() | st.floats(0, 1e6),
    throttled=st.booleans(),
    repeatable=st.booleans(),
    jitter=jitter,
)
def test_a_delay_is_bounded_and_never_shorter_than_asked(
    attempt: int,
    phase: Phase,
    asked: float | None,
    throttled: bool,
    repeatable: bool,
    jitter: float,
) -> None:
    policy = Retry(attempts=100)
    failure = Failure(phase, retry_after=asked, throttled=throttled)
    delay = policy.delay(attempt, failure, repeatable=repeatable, jitter=jitter)
    if delay is not None:
        assert (asked or 0.0) <= delay <= max(policy.cap, (asked or 0.0) + 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: Retry(attempts=0), r"attempts=0\): use 1", id="no attempt"),
        pytest.param(lambda: Retry(base=-1.0), r"base=-1.0\): use a finite", id="a negative base"),
        pytest.param(lambda: Retry(cap=math.inf), r"cap=inf\): use a finite", id="no cap"),
        pytest.param(lambda: Retry(throttle_base=math.nan), "throttle_base=nan", id="no number"),
        pytest.param(lambda: Retry(max_wait=-0.5), "max_wait=-0.5", id="a negative wait"),
        pytest.param(lambda: Retry(budget=-1), r"budget=-1\): use 0", id="a negative budget"),
    ],
)
def test_values_that_make_no_sense_are_refused(make: Callable[[], Retry], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        (200, None),
        (201, None),
        (307, None),
        (400, None),
        (401, None),
        (402, None),
        (403, None),
        (404, None),
        (408, "ambiguous"),
        (409, "ambiguous"),
        (410, None),
        (413, None),
        (422, None),
        (429, "refused"),
        (500, "ambiguous"),
        (502, "ambiguous"),
        (503, "ambiguous"),
        (504, "ambiguous"),
        (524, "ambiguous"),
        (599, "ambiguous"),
    ],
)
def test_the_status_tells_the_phase(status: int, phase: Phase | None) -> None:
    assert phase_of_status(status) == phase


def test_an_outage_is_repeated_thirty_five_times_by_all_tasks_together() -> None:
    budget = RetryBudget(500)
    assert sum(budget.spend(AMBIGUOUS) for _ in range(10_000)) == 35
    assert budget.tokens == 10


def test_throttling_is_cheaper() -> None:
    budget = RetryBudget(500)
    assert sum(budget.spend(THROTTLED) for _ in range(10_000)) == 100
    assert budget.tokens == 0


def test_a_success_returns_what_its_last_repeat_cost() -> None:
    budget = RetryBudget(500)
    budget.spend(AMBIGUOUS)
    budget.spend(THROTTLED)
    budget.refund(THROTTLED)
    assert budget.tokens == 486
    budget.refund(AMBIGUOUS)
    assert budget.tokens == 500


def test_successes_at_the_first_try_heal_an_empty_budget() -> None:
    budget = RetryBudget(28)
    assert budget.spend(AMBIGUOUS)
    assert budget.spend(AMBIGUOUS)
    assert not budget.spend(AMBIGUOUS)
    for _ in range(14):
        budget.refund()
    assert budget.spend(AMBIGUOUS)


def test_a_budget_of_nothing_never_repeats() -> None:
    assert not RetryBudget(0).spend(THROTTLED)
    with pytest.raises(ValueError, match="use 0"):
        RetryBudget(-1)


@given(
    capacity=st.integers(0, 100),
    moves=st.lists(st.sampled_from(["spend", "refund", "success"]), max_size=100),
    failure=st.sampled_from([NOT_SENT, THROTTLED]),
)
def test_the_tokens_stay_between_nothing_and_the_capacity(
    capacity: int, moves: list[str], failure: Failure
) -> None:
    budget = RetryBudget(capacity)
    for move in moves:
        if move == "spend":
            budget.spend(failure)
        else:
            budget.refund(failure if move == "refund" else None)
        assert 0 <= budget.tokens <= capacity
    assert repr(budget) == f"<RetryBudget {budget.tokens}/{capacity}>"
