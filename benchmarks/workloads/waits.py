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
_JITTER: Final = 0.2
"""Of a pause, as the client has it: runs are not begun in the same moment, nor looked at then."""


def _case(title: str, waits: int, jitter: float) -> Case:
    return Case(
        title,
        "waits",
        contestants=(OURS, OURS_FAST, AIOHTTP),
        arguments=(waits, _SECONDS, jitter),
        seconds=0.01,
        warm=False,
    )


CASES: Final = {waits: _case(f"{waits:,} waits", waits, _JITTER) for waits in (100, 1_000, 10_000)}
IN_STEP: Final = _case("10,000 waits, tasks in step", 10_000, 0.0)


def measure(lab: Lab) -> None:
    """Measure everybody."""
    lab.measure(NAME, [*CASES.values(), IN_STEP])


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    columns = [
        Column(case.title, case.title, "poll", microseconds) for case in (*CASES.values(), IN_STEP)
    ]
    most = CASES[10_000].title
    columns.append(Column("looks/s", most, "looks", count, beside=None))
    columns.append(Column(f"memory of a wait, {most}", most, "wait_size", kilobytes))
    text = table(results, NAME, columns, corner="CPU of a look, the request aside")
    return (
        f"{text}\n\nThe bare client has a task for each wait, with `asyncio.sleep` for half a "
        "second less a random fifth, which is the pace of ours, `client.predictions.wait`; "
        "requests are answered without being sent. Tasks in step sleep for exactly half a "
        "second, all of them at once: that spares the event loop sorting them, and floods an API."
    )


def goals(results: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    ratio = results.ratio(NAME, CASES[10_000].title, OURS, AIOHTTP, "poll")
    work = "10,000 waits: CPU of a look beside a task with asyncio.sleep each"
    return [Goal(work, ratio, most=0.5)]
