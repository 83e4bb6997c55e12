"""How the cost of a piece of work grows with how much there is; of what the others measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.contestants import OURS
from benchmarks.goals import Goal
from benchmarks.lab import Lab
from benchmarks.results import Results
from benchmarks.tables import microseconds, times
from benchmarks.workloads import batch, files, listing, waits

NAME: Final = "growth"

_ROWS: Final = (
    ("a listed prediction: 1, 10, 100 pages", listing.NAME, listing.MANY.values(), "item"),
    (
        "an item of a batch: 100, 1,000, 10,000",
        batch.NAME,
        [*(case.title for case in batch.CASES.values()), "10,000 items"],
        "item",
    ),
    (
        "a look of a wait: 100, 1,000, 10,000 waits",
        waits.NAME,
        [case.title for case in waits.CASES.values()],
        "poll",
    ),
    ("a downloaded MB: 3, 30, 300 MB", files.NAME, files.DOWNLOADS.values(), "cpu_per_mb"),
)


def measure(_: Lab) -> None:
    """Leave it to the others."""


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    lines = ["| CPU of | x 1 | x 10 | x 100 |", "|---|---:|---:|---:|"]
    for title, workload, cases, figure in _ROWS:
        found = [results.median(workload, case, OURS, figure) for case in cases]
        cells = [
            ""
            if value is None
            else microseconds(value) + (f" ({times(value / found[0])})" if at and found[0] else "")
            for at, value in enumerate(found)
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def goals(_: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    return []
