"""The HTML that a notebook shows for a prediction or a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final, cast

import msgspec

_LONGEST: Final = 600
_MOST_LINKS: Final = 16
_SECONDS: Final = ("predict_time", "total_time", "time_to_first_token")
_LONGEST_URL: Final = 2_000


def run_table(run: Mapping[str, Any]) -> str:
    """Return the fields of *run* as an HTML table, with all text escaped and nothing loaded."""
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th>'
        f'<td style="text-align: left">{value}</td></tr>'
        for name, value in _rows(run)
    )
    return f"<table>{rows}</table>"


def _rows(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "id", escape(run["id"])
    if run["model"]:
        yield "model", escape(run["model"])
    yield "status", escape(run["status"])
    if run["error"]:
        yield "error", escape(_cut(run["error"]))
    yield from _times(run)
    # The units that are billed: seconds, tokens, images.
    metrics: Mapping[str, Any] = run["metrics"] or {}
    for name, value in metrics.items():
        if isinstance(value, int | float | str):
            unit = " s" if name in _SECONDS and not isinstance(value, str) else ""
            shown = f"{value:,.6g}" if isinstance(value, float) else str(value)
            yield name, escape(f"{_cut(shown)}{unit}")
    if run["output"] is not None:
        yield "output", _output(run["output"])


def _times(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    created, started, completed = run["created_at"], run["started_at"], run["completed_at"]
    if created is not None:
        yield "created", escape(f"{created:%Y-%m-%d %H:%M:%S %Z}")
    if created is not None and started is not None:
        yield "waited", f"{max(0.0, (started - created).total_seconds()):.1f} s"
    if started is not None and completed is not None:
        yield "ran", f"{max(0.0, (completed - started).total_seconds()):.1f} s"


def _output(output: object) -> str:
    if isinstance(output, str):
        return _link(output) if _is_link(output) else _text(output)
    if isinstance(output, list):
        items = cast("list[object]", output)
        if items and all(isinstance(item, str) and _is_link(item) for item in items):
            links = [_link(str(item)) for item in items[:_MOST_LINKS]]
            return "<br>".join(links + ["…"] * (len(items) > _MOST_LINKS))
        if all(isinstance(item, str) for item in items):
            return _text("".join(str(item) for item in items))
    if isinstance(output, list | Mapping):
        return _text(msgspec.json.encode(cast("object", output)).decode())
    return _text(str(output))


def _is_link(text: str) -> bool:
    return (
        text.startswith("https://")
        and len(text) <= _LONGEST_URL
        and not any(map(str.isspace, text))
    )


def _link(url: str) -> str:
    address = escape(url)
    return f'<a href="{address}" rel="noopener noreferrer">{escape(_cut(url))}</a>'


def _text(text: str) -> str:
    return f'<pre style="white-space: pre-wrap">{escape(_cut(text))}</pre>'


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
