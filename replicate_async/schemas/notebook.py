"""The HTML that a notebook shows for a prediction or a training."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final, cast

import msgspec

from replicate_async.schemas.output import Progress

_LONGEST: Final = 600
_MOST_FILES: Final = 16
_SECONDS: Final = ("predict_time", "total_time", "time_to_first_token")
_LONGEST_URL: Final = 2_000
_LONGEST_DATA_URL: Final = 8_000_000
"""Characters; a longer one would make the notebook slow to open, and is cut."""

_LINK: Final = re.compile(r"https?://[^\s?#]+[^\s]*")
_SUFFIX: Final = re.compile(r"https?://[^/\s?#]+/[^\s?#]*\.(\w+)(?:[?#]\S*)?")
_LOOPBACK: Final = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?/")
_DATA: Final = re.compile(r"data:(image|audio|video)/[a-z0-9.+-]+;base64,[A-Za-z0-9+/]+=*")
_TOKEN: Final = re.compile(r"r8_[A-Za-z0-9_-]{4,}")
_KINDS: Final = {
    **dict.fromkeys(("avif", "gif", "jpeg", "jpg", "png", "svg", "webp"), "image"),
    **dict.fromkeys(("flac", "m4a", "mp3", "oga", "ogg", "opus", "wav"), "audio"),
    **dict.fromkeys(("m4v", "mov", "mp4", "ogv", "webm"), "video"),
}
_SIZE: Final = 'style="max-width: 100%; max-height: 320px"'
_TAGS: Final = {
    # Scripts in image/svg+xml do not run within an <img>.
    "image": f'<img src="{{}}" alt="" referrerpolicy="no-referrer" {_SIZE}>',
    "audio": '<audio controls preload="none" src="{}"></audio>',
    "video": f'<video controls preload="metadata" src="{{}}" {_SIZE}></video>',
}


def run_table(run: Mapping[str, Any]) -> str:
    """Return the fields of *run* as an HTML table that shows the files of its output.

    All text is escaped, and what looks like an API token is hidden. The browser loads pictures and
    the beginnings of videos from ``https`` and ``data`` URLs, and from an embedded server those of
    its own runs; nothing else.
    """
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th>'
        f'<td style="text-align: left">{value}</td></tr>'
        for name, value in _rows(run)
    )
    return _TOKEN.sub("[hidden]", f"<table>{rows}</table>")


def _rows(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "id", escape(run["id"])
    if run["model"]:
        yield "model", escape(run["model"])
    yield "status", escape(run["status"])
    if run["completed_at"] is None and (progress := Progress.parse(run["logs"])) is not None:
        done = f"{progress.percentage:.0%} ({progress.current:,} of {progress.total:,})"
        yield "progress", done
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
        # The output is the model's, and may name any address; the other URLs are the API's.
        own = _LOOPBACK.match(run["urls"].get or "")
        yield "output", _output(run["output"], ("https://", *([own[0]] if own else [])))


def _times(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    created, started, completed = run["created_at"], run["started_at"], run["completed_at"]
    if created is not None:
        yield "created", escape(f"{created:%Y-%m-%d %H:%M:%S %Z}")
    if created is not None and started is not None:
        yield "waited", f"{max(0.0, (started - created).total_seconds()):.1f} s"
    if started is not None and completed is not None:
        yield "ran", f"{max(0.0, (completed - started).total_seconds()):.1f} s"


def _output(output: object, sources: tuple[str, ...]) -> str:
    if isinstance(output, msgspec.Struct):
        output = cast("object", msgspec.to_builtins(output))
    if isinstance(output, str):
        return _file(output, sources) or _text(output)
    if isinstance(output, list):
        items = cast("list[object]", output)
        texts = [item for item in items if isinstance(item, str)]
        if len(texts) == len(items):
            return _files(texts, sources) or _text("".join(texts))
    if isinstance(output, Mapping):
        values = cast("Mapping[object, object]", output)
        if any(isinstance(value, str) and _file(value, sources) for value in values.values()):
            return "".join(_named(str(name), value, sources) for name, value in values.items())
    if isinstance(output, list | Mapping):
        return _text(msgspec.json.encode(cast("object", output)).decode())
    return _text(str(output))


def _named(name: str, value: object, sources: tuple[str, ...]) -> str:
    return "" if value is None else f"<div>{escape(_cut(name))}: {_output(value, sources)}</div>"


def _files(texts: list[str], sources: tuple[str, ...]) -> str | None:
    """Return the HTML of a list of files; None when it is not one."""
    shown = [_file(text, sources) for text in texts[:_MOST_FILES]]
    files = [file for file in shown if file is not None]
    if not files or len(files) < len(shown):
        return None
    return "<br>".join(files + ["…"] * (len(texts) > _MOST_FILES))


def _file(text: str, sources: tuple[str, ...]) -> str | None:
    """Return the HTML of a URL of a file that begins as one of *sources*; None when it is none."""
    if text.startswith("data:"):
        match = _DATA.fullmatch(text) if len(text) <= _LONGEST_DATA_URL else None
        return match and _TAGS[match[1]].format(text)
    if not text.startswith(sources) or len(text) > _LONGEST_URL or not _LINK.fullmatch(text):
        return None
    address, suffix = escape(text), _SUFFIX.fullmatch(text)
    link = f'<a href="{address}" rel="noopener noreferrer">{escape(_cut(text))}</a>'
    kind = _KINDS.get(suffix[1].lower()) if suffix is not None else None
    return link if kind is None else f"{_TAGS[kind].format(address)}<br>{link}"


def _text(text: str) -> str:
    return f'<pre style="white-space: pre-wrap">{escape(_cut(text))}</pre>'


def _cut(text: str) -> str:
    # A token is hidden before the cut, which could leave the beginning of one.
    shown = _TOKEN.sub("[hidden]", text[: 2 * _LONGEST])
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
