"""The harness of the benchmarks works; what it measures is not looked at here."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks import results as kept
from benchmarks.contestants import OURS
from benchmarks.goals import Goal
from benchmarks.lab import Case, Lab
from benchmarks.results import Results
from benchmarks.tables import Column, microseconds, table


def test_contestants_are_asked_in_processes_of_their_own() -> None:
    results = kept.begun(1, quick=True, idle=1.0)
    operations: dict[str, list[object]] = {
        "get": ["p"],
        "cycle": [],
        "held": [],
        "page": [],
        "pages": [2],
        "waits": [10, 0.6, 0.0],
    }
    cases = [
        Case(operation, operation, 2, (OURS,), arguments, seconds=0.05)
        for operation, arguments in operations.items()
    ]
    cases.append(Case("broken", "no_such_operation", 1, (OURS,)))
    with ExitStack() as stack:
        Lab(results, stack).measure("calls", cases)
    for case in cases[:-1]:
        assert results.missing("calls", case.title, OURS) == ""
        assert results.values("calls", case.title, OURS, "cpu").keys() == {0}
    assert "AttributeError" in results.missing("calls", "broken", OURS)


def test_ratios_are_those_of_the_same_round() -> None:
    results = _results({"a": [10.0, 30.0, 20.0], "b": [5.0, 10.0, 20.0]})
    assert results.median("w", "c", "a", "cpu") == 20
    assert results.ratio("w", "c", "a", "b", "cpu") == 2
    assert results.spread("w", "c", "a", "cpu") == 0.25
    assert results.ratio("w", "c", "a", "absent", "cpu") is None


def test_a_table_says_who_took_how_much_more() -> None:
    results = _results({OURS: [10.0, 10.0], "peer": [150.0, 150.0]})
    Lab(results, ExitStack()).note("w", "c", "slow", 0, missing="more than 8 s")
    text = table(results, "w", [Column("CPU", "c", "cpu", microseconds)])
    assert "| replicate_async | 10.0 µs | ± 0% |" in text
    assert "| peer | 150 µs (15 x) | ± 0% |" in text
    assert "| slow | no: more than 8 s |  |" in text


def test_a_goal_is_met_or_missed() -> None:
    assert "| at most 1.10 x | 1.05 x | met |" in Goal("CPU", 1.05, most=1.1).row()
    assert "**missed**" in Goal("CPU", 1.2, most=1.1).row()
    assert "not measured" in Goal("speed", None, least=4).row()


def _results(by_contestant: dict[str, list[float]]) -> Results:
    results = kept.begun(3, quick=False, idle=1.0)
    lab = Lab(results, ExitStack())
    for title, values in by_contestant.items():
        for turn, value in enumerate(values):
            lab.note("w", "c", title, turn, {"cpu": value})
    return results
