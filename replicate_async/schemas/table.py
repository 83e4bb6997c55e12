"""A run as a small table, which is what a notebook shows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Final, cast

import msgspec

if TYPE_CHECKING:
    from replicate_async.schemas.predictions import Prediction

_LONGEST: Final = 600
_MOST_LINKS: Final = 16
_SECONDS: Final = ("predict_time", "total_time", "time_to_first_token")
_LONGEST_URL: Final = 2_000


def run_table(run: Prediction) -> str:
    """Return *run* as HTML; nothing in it is fetched, and nothing of a model's text is obeyed."""
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th>'
        f'<td style="text-align: left">{value}</td></tr>'
        for name, value in _rows(run)
    )
    return f"<table>{rows}</table>"


def _rows(run: Prediction) -> Iterator[tuple[str, str]]:
    yield "id", escape(run.id)
    if run.model:
        yield "model", escape(run.model)
    yield "status", escape(run.status)
    if run.error:
        yield "error", escape(_cut(run.error))
    yield from _times(run)
    # What an account is billed by: seconds, tokens, pictures.
    for name, value in (run.metrics or {}).items():
        if isinstance(value, int | float | str):
            unit = " s" if name in _SECONDS and not isinstance(value, str) else ""
            shown = f"{value:,.6g}" if isinstance(value, float) else str(value)
            yield name, escape(f"{_cut(shown)}{unit}")
    if run.output is not None:
        yield "output", _output(run.output)


def _times(run: Prediction) -> Iterator[tuple[str, str]]:
    if run.created_at is not None:
        yield "created", escape(f"{run.created_at:%Y-%m-%d %H:%M:%S %Z}")
    if run.created_at is not None and run.started_at is not None:
        yield "waited", f"{max(0.0, (run.started_at - run.created_at).total_seconds()):.1f} s"
    if run.started_at is not None and run.completed_at is not None:
        yield "ran", f"{max(0.0, (run.completed_at - run.started_at).total_seconds()):.1f} s"


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
