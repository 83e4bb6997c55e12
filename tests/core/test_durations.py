"""How long runs of a model took, as far as it is remembered."""

from __future__ import annotations

import math

import pytest

from replicate_async.core.durations import Durations, Typical


def record(durations: Durations, seconds: float, model: str = "m") -> None:
    durations.record(model, "v", created=0.0, started=0.0, ended=seconds)


def test_a_duration_is_typical_after_five_runs_and_old_ones_are_forgotten() -> None:
    durations = Durations()
    for _ in range(4):
        record(durations, 10.0)
    assert durations.typical("m", "v", queued=True) is None
    record(durations, 10.0)
    assert durations.typical("m", "v", queued=True) == Typical(10.0, 10.0)

    for _ in range(100):
        record(durations, 50.0)
    assert durations.typical("m", "v", queued=True) == Typical(50.0, 50.0)


def test_the_time_in_the_queue_is_kept_apart_from_the_work() -> None:
    durations = Durations()
    for _ in range(5):
        durations.record("m", "v", created=100.0, started=110.0, ended=130.0)
        durations.record("m", "v", created=None, started=110.0, ended=130.0)

    assert durations.typical("m", "v", queued=True) == Typical(30.0, 30.0)
    assert durations.typical("m", "v", queued=False) == Typical(20.0, 20.0)


def test_a_model_or_a_version_alone_is_enough_to_look_up_the_whole_duration() -> None:
    durations = Durations()
    for version in "abcde":
        durations.record("m", version, created=0.0, started=10.0, ended=30.0)

    assert durations.typical("m", None, queued=True) == Typical(30.0, 30.0)
    assert durations.typical(None, "a", queued=True) is None
    for _ in range(4):
        durations.record("n", "a", created=0.0, started=20.0, ended=40.0)
    assert durations.typical(None, "a", queued=True) == Typical(30.0, 40.0)


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_an_impossible_duration_is_not_recorded(seconds: float) -> None:
    durations = Durations()
    for _ in range(10):
        record(durations, seconds)

    assert durations.typical("m", "v", queued=True) is None
    assert len(durations) == 0


def test_the_number_of_models_is_bounded() -> None:
    durations = Durations()
    for at in range(5000):
        record(durations, 1.0, "kept")
        record(durations, 1.0, f"model {at}")

    assert len(durations) == 4096
    assert durations.typical("kept", "v", queued=True) is not None


def test_an_outlier_does_not_change_what_is_typical() -> None:
    durations = Durations()
    for at in range(20):
        record(durations, 10.0 + at * 10 / 19)
    record(durations, 3000.0)

    found = durations.typical("m", "v", queued=False)
    assert found is not None
    assert 10 <= found.early < 13
    assert 17 < found.late <= 20
