"""Create a prediction and wait until it is over, or run it by one request that is held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.contestants import AIOHTTP, OURS, PUBLISHED
from benchmarks.goals import Goal, least
from benchmarks.lab import Case, Lab
from benchmarks.results import Results
from benchmarks.tables import Column, count, microseconds, table

NAME: Final = "cycle"
WAIT: Final = Case("create, then poll 3 times", "cycle", in_flight=16)
HELD: Final = Case("run with `Prefer: wait`", "held", in_flight=16)


def measure(lab: Lab) -> None:
    """Measure everybody."""
    lab.measure(NAME, [WAIT, HELD])


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    cases = (WAIT, HELD)
    columns = [Column(case.title, case.title, "cpu", microseconds) for case in cases]
    columns += [
        Column(f"{case.title}, a second", case.title, "rate", count, None) for case in cases
    ]
    return table(results, NAME, columns, corner="CPU, 16 in flight")


def goals(results: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    case = WAIT.title
    best = least([results.ratio(NAME, case, title, OURS, "cpu") for title in PUBLISHED])
    return [
        Goal(
            "create, then wait: CPU beside aiohttp + msgspec",
            results.ratio(NAME, case, OURS, AIOHTTP, "cpu"),
            most=1.10,
        ),
        Goal("create, then wait: CPU of the best published client beside ours", best, least=5),
    ]
