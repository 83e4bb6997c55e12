"""What is printed: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from replicate_async.cli.errors import one_line, without_tokens
from replicate_async.schemas import Prediction

if TYPE_CHECKING:
    from rich.live import Live
    from rich.spinner import Spinner

# What a terminal would obey; a model's text must not move the cursor or rename the window.
_OBEYED: Final = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)])


def write(text: str, *, logs: bool = False) -> None:
    """Write *text* as it is, at once; *logs* go to stderr."""
    stream = sys.stderr if logs else sys.stdout
    stream.write(text.translate(_OBEYED) if stream.isatty() else text)
    stream.flush()


def write_json(value: object) -> None:
    """Write *value* as a line of JSON, or as an indented document on a terminal."""
    encoded = msgspec.json.encode(value)
    if sys.stdout.isatty():
        encoded = msgspec.json.format(encoded, indent=2)
    write(f"{encoded.decode()}\n")


def write_json_line(value: object) -> None:
    """Write *value* as a line of JSON, wherever it goes."""
    write(f"{msgspec.json.encode(value).decode()}\n")


def note(text: str) -> None:
    """Say something on stderr."""
    print(without_tokens(one_line(text)), file=sys.stderr, flush=True)


def write_output(output: object, *, joined: bool) -> None:
    """Write a model's output: text as text, files by their URLs, anything else as JSON.

    *joined* says that a list is made of pieces of one text.
    """
    if parts := _texts(output):
        if joined:
            output = "".join(parts)
        elif all(is_url(part) for part in parts):
            output = "\n".join(parts)
    if isinstance(output, str):
        write(output if output.endswith("\n") else f"{output}\n")
    elif output is not None:
        write_json(output)


def is_url(text: str) -> bool:
    """Return whether a part of an output is a file rather than text."""
    return text.startswith(("http://", "https://", "data:")) and not any(map(str.isspace, text))


def _texts(output: object) -> list[str]:
    try:
        return msgspec.convert(output, list[str])
    except msgspec.ValidationError:
        return []


def write_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write *rows* in columns on a terminal, and with tabs and no header into a pipe."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        write("".join("\t".join(row) + "\n" for row in rows))
        return
    from rich.console import Console  # noqa: PLC0415 - only where a terminal shows it
    from rich.table import Table  # noqa: PLC0415 - so here, too
    from rich.text import Text  # noqa: PLC0415 - and here

    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, name in enumerate(header):
        # Only the last is cut short: half an id or a name is good for nothing.
        last = number == len(header) - 1
        width = 0 if last else max(len(row[number]) for row in [header, *rows])
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=width)
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


_STYLES: Final = {"succeeded": "green", "failed": "red", "canceled": "yellow", "aborted": "yellow"}


class Status:
    """One line on the terminal about what goes on, with the time that has passed.

    Nothing is shown where stderr is no terminal.
    """

    def __init__(self) -> None:
        self._live: Live | None = None
        self._spinner: Spinner | None = None
        self._shown = sys.stderr.isatty()
        self._started = time.monotonic()

    def show(self, text: str) -> None:
        """Show *text* until the next call."""
        if not self._shown:
            return
        if self._live is None or self._spinner is None:
            from rich.console import Console  # noqa: PLC0415 - only where a terminal shows it
            from rich.live import Live  # noqa: PLC0415 - rich is slow to import
            from rich.spinner import Spinner  # noqa: PLC0415 - as above

            self._spinner = Spinner("dots", style="cyan")
            self._live = Live(
                self._spinner,
                console=Console(stderr=True),
                transient=True,
                # The embedded server has a use of its own for the two streams.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._spinner.update(text=self._line(text))

    def follow(self, prediction: Prediction) -> None:
        """Show how far *prediction* is."""
        parts = [prediction.model or prediction.id, prediction.status]
        if progress := prediction.progress:
            parts.append(f"{progress.percentage:.0%}")
        self.show(" · ".join(parts))

    def clear(self) -> None:
        """Take the line away."""
        if self._live is not None:
            self._live.stop()
            self._live = self._spinner = None

    def _line(self, text: str) -> Any:
        from rich.text import Text  # noqa: PLC0415 - only where a terminal shows it

        return Text(f"{one_line(text)} · {time.monotonic() - self._started:.1f} s", style="dim")
