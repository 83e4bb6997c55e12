"""Listing pages of 100 predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.contestants import AIOHTTP, OURS, OURS_FAST, PUBLISHED
from benchmarks.goals import Goal, least
from benchmarks.lab import Case, Lab
from benchmarks.results import Results
from benchmarks.tables import Column, count, microseconds, table

NAME: Final = "listing"
PAGE: Final = Case("a page of 100", "page")
MANY: Final = {count: f"iterating over {count} pages" for count in (1, 10, 100)}


def measure(lab: Lab) -> None:
    """Measure everybody."""
    many = [
        Case(
            title, "pages", arguments=(count,), contestants=(OURS, OURS_FAST, AIOHTTP), seconds=0.1
        )
        for count, title in MANY.items()
    ]
    lab.measure(NAME, [PAGE, *many])


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    columns = [
        Column("CPU a prediction", PAGE.title, "cpu", lambda page: microseconds(page / 100)),
        Column("predictions/s", PAGE.title, "rate", lambda pages: count(pages * 100), None),
    ]
    return table(results, NAME, columns, corner="listing, page by page")


def goals(results: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    case = PAGE.title
    best = least([results.ratio(NAME, case, title, OURS, "cpu") for title in PUBLISHED])
    return [
        Goal(
            "listing: CPU a prediction beside aiohttp + msgspec",
            results.ratio(NAME, case, OURS, AIOHTTP, "cpu"),
            most=1.05,
        ),
        Goal("listing: CPU of the best published client beside ours", best, least=10),
    ]
