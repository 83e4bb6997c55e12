"""Thousands of waits for runs that go on, each looked at about twice a second; no requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.contestants import AIOHTTP, OURS, OURS_FAST
from benchmarks.goals import Goal
from benchmarks.lab import Case, Lab
from benchmarks.results import Results
from benchmarks.tables import Column, count, kilobytes, microseconds, table

NAME: Final = "waits"

_SECONDS: Final = 0.8
CASES: Final = {
    waits: Case(
        f"{waits:,} waits",
        "waits",
        contestants=(OURS, OURS_FAST, AIOHTTP),
        arguments=(waits, _SECONDS),
        seconds=0.01,
        warm=False,
    )
    for waits in (100, 1_000, 10_000)
}


def measure(lab: Lab) -> None:
    """Measure everybody."""
    lab.measure(NAME, list(CASES.values()))


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    columns = [Column(case.title, case.title, "poll", microseconds) for case in CASES.values()]
    most = CASES[10_000].title
    columns.append(Column("looks/s", most, "looks", count, beside=None))
    columns.append(Column(f"memory of a wait, {most}", most, "wait_size", kilobytes))
    text = table(results, NAME, columns, corner="CPU of a look, the request aside")
    return (
        f"{text}\n\nThe bare client has a task with `asyncio.sleep(0.5)` for each wait; ours is "
        "`client.predictions.wait`, whose requests are answered without being sent."
    )


def goals(results: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    ratio = results.ratio(NAME, CASES[10_000].title, OURS, AIOHTTP, "poll")
    work = "10,000 waits: CPU of a look beside a task with asyncio.sleep each"
    return [Goal(work, ratio, most=0.5)]
