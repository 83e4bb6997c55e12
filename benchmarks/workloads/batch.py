"""A model run over many inputs, 64 at a time, each polled 3 times without pauses."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.contestants import AIOHTTP, AIOHTTP_FAST, OURS, OURS_FAST
from benchmarks.goals import Goal
from benchmarks.lab import Case, Lab
from benchmarks.results import Results
from benchmarks.tables import Column, count, microseconds, table

NAME: Final = "batch"

CASES: Final = {
    items: Case(
        f"{items:,} items",
        "batch",
        contestants=(OURS, OURS_FAST, AIOHTTP, AIOHTTP_FAST),
        arguments=(items,),
        seconds=0.01,
        patience=60,
    )
    for items in (100, 1_000)
}
_MANY: Final = replace(CASES[100], title="10,000 items", arguments=(10_000,), contestants=(OURS,))
_JOURNAL: Final = "1,000 items and a journal"


def measure(lab: Lab) -> None:
    """Measure everybody."""
    cases = list(CASES.values())
    if not lab.quick:
        cases.append(replace(_MANY, once=_MANY.contestants))
    with tempfile.TemporaryDirectory() as folder:
        journal = replace(CASES[100], title=_JOURNAL, operation="journaled")
        arguments = (1_000, str(Path(folder) / "journal"))
        cases.append(replace(journal, arguments=arguments, contestants=(OURS, OURS_FAST)))
        lab.measure(NAME, cases)


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    titles = [*(case.title for case in CASES.values()), _MANY.title, _JOURNAL]
    columns = [Column(title, title, "item", microseconds) for title in titles]
    columns += [
        Column(f"items/s, {title}", title, "items", count, beside=None) for title in titles[1:]
    ]
    return table(results, NAME, columns, corner="CPU an item")


def goals(_: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    return []
