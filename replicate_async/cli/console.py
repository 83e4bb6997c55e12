"""Output of a command: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import IO, Final

import msgspec
from rich.console import Console
from rich.text import Text

from replicate_async.cli.errors import one_line, without_tokens

_CONTROL: Final = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)])
"""What a terminal obeys; the text of a model must not move the cursor or rename the window."""
_STYLES: Final = {"succeeded": "green", "failed": "red", "canceled": "yellow", "aborted": "yellow"}
_NARROWEST: Final = 20
"""Columns; a description with less room is printed below its row."""


def write(text: str, *, logs: bool = False) -> None:
    """Write *text* as it is, at once; *logs* go to stderr."""
    stream = sys.stderr if logs else sys.stdout
    stream.write(text.translate(_CONTROL) if stream.isatty() else text)
    stream.flush()


def write_json(value: object, *, line: bool = False) -> None:
    """Write *value* as a line of JSON, or as an indented document on a terminal."""
    encoded = msgspec.json.encode(value)
    if sys.stdout.isatty() and not line:
        encoded = msgspec.json.format(encoded, indent=2)
    write(f"{encoded.decode()}\n")


def note(text: str, *, wrap: bool = True) -> None:
    """Print a message on stderr; on a terminal it is wrapped between words."""
    text = without_tokens(one_line(text))
    if wrap:
        text = "\n".join(wrapped(text, terminal_width(sys.stderr)))
    print(text, file=sys.stderr, flush=True)


def terminal_width(stream: IO[str]) -> int:
    """Return the columns of the terminal that shows *stream*; 0 where there is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


def write_output(output: object, *, joined: bool) -> None:
    """Write a model's output: text as text, files by their URLs, anything else as JSON.

    With *joined*, a list of strings is one text.
    """
    with suppress(msgspec.ValidationError):
        parts = msgspec.convert(output, list[str])
        if parts and (joined or all(map(is_url, parts))):
            output = ("" if joined else "\n").join(parts)
    if isinstance(output, str):
        write(output if output.endswith("\n") else f"{output}\n")
    elif output is not None:
        write_json(output)


def is_url(text: str) -> bool:
    """Return whether a part of an output is a file rather than text."""
    return text.startswith(("http://", "https://", "data:")) and not any(map(str.isspace, text))


def write_card(fields: Mapping[str, object], *more: tuple[str, object]) -> None:
    """Write the fields of one thing, a line each; fields without a value are left out."""
    rows = [(name, str(value)) for name, value in (*fields.items(), *more) if value or value == 0]
    write("\n".join(columns(rows, terminal_width(sys.stdout), indent="")) + "\n")


def write_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write *rows* in columns on a terminal, and with tabs and no header into a pipe."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        write("".join("\t".join(row) + "\n" for row in rows))
        return
    console = Console()
    texts = [[Text(cell, style="dim") for cell in header]]
    texts += [[Text(cell, style=_STYLES.get(cell, "")) for cell in row] for row in rows]
    widths = [max(text.cell_len for text in column) for column in zip(*texts, strict=True)]
    for cells in texts:
        for cell, width in zip(cells[:-1], widths, strict=False):
            cell.align("left", width)
        # A row that is too long is cut at its end: the id at its beginning stays whole.
        console.print(Text("  ").join(cells), no_wrap=True, overflow="ellipsis", highlight=False)


def columns(rows: Sequence[Sequence[str]], width: int = 0, *, indent: str = "  ") -> list[str]:
    """Return *rows* as lines of columns, broken between words at *width* unless that is 0."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines: list[str] = []
    for *cells, last in rows:
        padded = zip(cells, widths, strict=True)
        head = indent + "".join(f"{cell:<{size}}  " for cell, size in padded)
        if not width:
            lines.append(f"{head}{last}".rstrip())
        elif width - len(head) >= _NARROWEST:
            lines += wrapped(last, width, head, " " * len(head)) or [head.rstrip()]
        else:
            lines += wrapped("  ".join(filter(None, cells)), width, indent, f"{indent}  ")
            lines += wrapped(last, width, f"{indent}    ", f"{indent}    ")
    return lines


def wrapped(text: str, width: int, first: str = "", other: str = "") -> list[str]:
    """Return *text* as lines of at most *width* unless that is 0; long words stay in one piece."""
    if not width:
        return [text]
    wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
    return wrap(text, width, initial_indent=first, subsequent_indent=other)


def clock(moment: datetime | None) -> str:
    """Return *moment* in the time zone of this machine."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""
