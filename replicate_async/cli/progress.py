"""The progress of a command: one line on stderr where that is a terminal."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from rich import progress as bars
from rich.console import Console
from rich.table import Column

from replicate_async.cli.console import note, terminal_width
from replicate_async.cli.errors import one_line
from replicate_async.core.usage import cost_text

if TYPE_CHECKING:
    from replicate_async import BatchProgress, Prediction

_WIDEST_BAR: Final = 24
_WIDEST_NAME: Final = 40
_NARROW: Final = 70
_LINE_EVERY: Final = 30.0
"""Seconds between two lines of a batch where stderr is not a terminal."""
_RECONCILING: Final = (
    "Some creates were cut off before their answer came. They are looked for in the list of "
    "predictions; what is not there after {settle:.0f} s is created again. All else goes on "
    "meanwhile."
)


class ProgressLine:
    """One line at the bottom of the terminal, drawn from the first `update` to `clear`.

    Nothing is drawn where stderr is not a terminal. It can be updated from any thread.
    """

    def __init__(self, columns: Callable[[int], list[bars.ProgressColumn]]) -> None:
        self.shown: bool = sys.stderr.isatty()
        self._columns = columns
        self._started = time.monotonic()
        self._live: bars.Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def update(self, **values: Any) -> None:
        """Draw *values*: ``description``, ``completed``, ``total``, or fields of a column."""
        if not self.shown:
            return
        if self._live is None:
            self._live = bars.Progress(
                *self._columns(terminal_width(sys.stderr)),
                console=Console(stderr=True),
                transient=True,
                # The embedded server uses the two streams itself.
                redirect_stdout=False,
                redirect_stderr=False,
                get_time=time.monotonic,
            )
            self._live.add_task("", total=None, figures="")
            self._live.tasks[0].start_time = self._started
        self._live.update(self._live.task_ids[0], **values)
        self._live.start()  # once

    def clear(self) -> None:
        """Remove the line from the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def note(self, text: str) -> None:
        """Print a message above the line."""
        if self._live is None:
            note(text)
        else:
            self._live.console.print(text, style="yellow", highlight=False, markup=False)


class RunProgress(ProgressLine):
    """The status of a prediction, and the time since the command began."""

    def __init__(self) -> None:
        super().__init__(_run_columns)

    def show(self, prediction: Prediction) -> None:
        """Show how far *prediction* is."""
        parts = [prediction.model or prediction.id, prediction.status]
        if progress := prediction.progress:
            parts.append(f"{progress.percentage:.0%}")
        self.update(description=one_line(" · ".join(parts)))


class FileProgress(ProgressLine):
    """The bytes of files on their way to or from the API."""

    def __init__(self, name: str, total: int | None = None) -> None:
        super().__init__(_file_columns)
        self._name = one_line(name)
        self._total = total

    def show(self, done: int, total: int | None = None) -> None:
        """Show that *done* bytes are there, of *total* if that is known by now."""
        self._total = total if total is not None else self._total
        self.update(description=self._name, completed=done, total=self._total)


class MeteredFile(io.FileIO):
    """A file that reports how far it has been read."""

    def __init__(self, path: Path, report: Callable[[int], None]) -> None:
        super().__init__(path)
        self._report = report

    def read(self, size: int | None = -1) -> bytes:
        """Read up to *size* bytes, or all that are left."""
        data = super().read(-1 if size is None else size) or b""
        if self.seekable():
            self._report(self.tell())
        return data


class BatchProgressLine(ProgressLine):
    """A batch: a bar on a terminal, else a line of text every 30 seconds.

    *creates* is the limit of creates a minute that the pace is shown against.
    """

    def __init__(self, creates: float | None) -> None:
        super().__init__(_batch_columns)
        self._creates = creates
        self._line_at = time.monotonic() + _LINE_EVERY
        self._reconciling = False

    def show(self, progress: BatchProgress) -> None:
        """Show *progress*."""
        if progress.reconciling and not self._reconciling:
            from replicate_async import BatchTimeouts  # noqa: PLC0415 - for batches only

            self._reconciling = True
            self.note(_RECONCILING.format(settle=BatchTimeouts().settle))
        if self.shown:
            figures = figures_of(progress, self._creates)
            self.update(total=progress.total, completed=progress.done, figures=figures)
        elif time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + _LINE_EVERY
            of = "" if progress.total is None else f" of {progress.total:,}"
            note(f"{progress.done:,}{of} · {figures_of(progress, self._creates)}")


def figures_of(progress: BatchProgress, creates: float | None) -> str:
    """Return the numbers of *progress* on one line."""
    limit = "" if creates is None else f" of {creates / 60:.3g}"
    parts = [f"{progress.ok:,} ok"]
    names = ("failed", "uncertain", "resumed", "running", "reconciling")
    parts += [f"{count:,} {name}" for name in names if (count := getattr(progress, name))]
    parts.append(f"{progress.rate:.1f}{limit}/s")
    if progress.eta is not None:
        left = timedelta(seconds=round(progress.eta))
        parts.append(f"{str(left).removeprefix('0:')} left")
    parts.append(f"{progress.predict_seconds:,.1f} predict s")
    if progress.cost is not None:
        parts.append(f"cost {cost_text(progress.cost)}")
    return " · ".join(parts)


def _run_columns(_width: int) -> list[bars.ProgressColumn]:
    return [
        bars.SpinnerColumn("dots", style="cyan"),
        bars.TextColumn("{task.description}", style="dim", markup=False),
        bars.TextColumn("· {task.elapsed:.1f} s", style="dim"),
    ]


def _file_columns(width: int) -> list[bars.ProgressColumn]:
    bar = min(_WIDEST_BAR, width // 5)
    wide = width > _NARROW
    name = _cut(min(_WIDEST_NAME, width - bar - (38 if wide else 25)))
    return [
        bars.TextColumn("{task.description}", markup=False, table_column=name),
        bars.BarColumn(bar_width=bar),
        bars.DownloadColumn(),
        *([bars.TransferSpeedColumn()] if wide else []),
        bars.TimeRemainingColumn(compact=True),
    ]


def _batch_columns(width: int) -> list[bars.ProgressColumn]:
    bar = min(_WIDEST_BAR, width // 5)
    return [
        bars.TaskProgressColumn(),
        bars.BarColumn(bar_width=bar),
        bars.TextColumn("{task.fields[figures]}", style="dim", table_column=_cut(width - bar - 6)),
    ]


def _cut(width: int) -> Column:
    """Return a column that is cut at *width*, so that no other has to shrink."""
    return Column(max_width=width, no_wrap=True, overflow="ellipsis")
