from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.backoff import backoff


def test_the_pause_doubles_up_to_the_cap() -> None:
    pauses = [backoff(n, base=0.5, cap=4.0) for n in range(1, 7)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_a_million_failures_do_not_overflow() -> None:
    assert backoff(1_000_000, base=0.5, cap=8.0) == 8.0


@pytest.mark.parametrize(
    ("jitter", "spread", "pause"),
    [
        pytest.param(0.0, 1.0, 0.0, id="nothing at least"),
        pytest.param(0.25, 1.0, 1.0, id="a share of the whole"),
        pytest.param(0.0, 0.5, 2.0, id="half at least"),
        pytest.param(0.5, 0.5, 3.0, id="half, and a share of the rest"),
        pytest.param(0.5, 0.0, 4.0, id="no spread"),
    ],
)
def test_jitter_chooses_within_the_spread(jitter: float, spread: float, pause: float) -> None:
    assert backoff(4, base=0.5, cap=8.0, jitter=jitter, spread=spread) == pause


@given(
    failures=st.integers(1, 10_000),
    jitter=st.floats(0, 1, exclude_max=True),
    spread=st.floats(0, 1),
)
def test_the_pause_stays_below_the_cap_and_above_what_is_not_spread(
    failures: int, jitter: float, spread: float
) -> None:
    whole = backoff(failures, base=0.1, cap=30.0)
    pause = backoff(failures, base=0.1, cap=30.0, jitter=jitter, spread=spread)
    assert whole * (1 - spread) <= pause * (1 + 1e-12)
    assert pause <= 30.0 * (1 + 1e-12)
