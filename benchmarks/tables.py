"""Markdown tables of results: a row for each contestant, a column for each case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.contestants import EVERYONE, OURS
from benchmarks.results import Results

Say = Callable[[float], str]


@dataclass(frozen=True)
class Column:
    """A figure of a case, as a table shows it."""

    heading: str
    case: str
    figure: str
    say: Say
    beside: str | None = OURS
    """Whose share is put in brackets, as so many times; None for none."""


def microseconds(figure: float) -> str:
    """Return microseconds as text."""
    if figure >= 20_000:
        return f"{figure / 1000:,.0f} ms"
    return f"{figure:,.0f} µs" if figure >= 20 else f"{figure:.1f} µs"


def milliseconds(figure: float) -> str:
    """Return milliseconds as text."""
    return f"{figure:,.0f} ms" if figure >= 20 else f"{figure:.1f} ms"


def count(figure: float) -> str:
    """Return a number as text."""
    return f"{figure:,.0f}" if figure >= 20 else f"{figure:.1f}"


def kilobytes(figure: float) -> str:
    """Return bytes as text."""
    return f"{figure / 1000:,.1f} kB"


def megabytes(figure: float) -> str:
    """Return bytes as text."""
    return f"{figure / 1e6:,.1f} MB"


def times(ratio: float) -> str:
    """Return a ratio as text."""
    return f"{ratio:.2f} x" if ratio < 10 else f"{ratio:.0f} x"


def table(
    results: Results,
    workload: str,
    columns: Sequence[Column],
    contestants: Sequence[str] | None = None,
    corner: str = "",
) -> str:
    """Return a table, with the widest spread of a row's figures at its end."""
    headings = " | ".join(column.heading for column in columns)
    lines = [f"| {corner} | {headings} | spread |", f"|---|{'---:|' * (len(columns) + 1)}"]
    for title in contestants or in_order(results, workload):
        cells = [_cell(results, workload, title, column) for column in columns]
        spreads = [
            found
            for column in columns
            if (found := results.spread(workload, column.case, title, column.figure)) is not None
        ]
        spread = f"± {max(spreads):.0%}" if spreads else ""
        lines.append(f"| {title} | {' | '.join(cells)} | {spread} |")
    return "\n".join(lines)


def _cell(results: Results, workload: str, title: str, column: Column) -> str:
    figure = results.median(workload, column.case, title, column.figure)
    if figure is None:
        why = results.missing(workload, column.case, title)
        return f"no: {why.split(':')[0]}" if why else ""
    ratio = None
    if column.beside not in {None, title}:
        ratio = results.ratio(workload, column.case, title, str(column.beside), column.figure)
    return column.say(figure) + (f" ({times(ratio)})" if ratio is not None else "")


def in_order(results: Results, workload: str) -> Sequence[str]:
    """Return who took part, this package first, then as they are listed."""
    found = results.contestants(workload)
    known = [title for title in EVERYONE if title in found]
    return [*known, *(title for title in found if title not in known)]
