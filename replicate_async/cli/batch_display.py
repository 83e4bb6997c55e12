"""How far a batch is, on the terminal: a bar, the pace against the limit, what failed."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from replicate_async import BatchProgress, BatchTimeouts
from replicate_async.cli.console import note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY: Final = 0.2
"""Seconds between two looks of the terminal."""
_LINE_EVERY: Final = 30.0
"""Seconds between two lines where stderr is no terminal."""
_SEEKING: Final = (
    "Some creates were cut off before their answer came. They are looked for in the list of "
    f"predictions; what is not there after {BatchTimeouts().settle:.0f} s is created again. All "
    "else goes on meanwhile."
)


class Display:
    """Shows a batch's progress on stderr: live on a terminal, else a line now and then.

    *creates* is the limit of creations a minute that the pace is shown against.
    """

    def __init__(self, creates: float | None) -> None:
        self._creates = creates
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._shown_at = time.monotonic() - _EVERY
        self._seeking = False
        self._terminal = sys.stderr.isatty()
        if not self._terminal:
            self._shown_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._terminal:
            self._live, self._task = _bar()
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def show(self, progress: BatchProgress) -> None:
        """Show *progress*, if it is time to."""
        if progress.reconciling and not self._seeking:
            self._seeking = True
            self.say(_SEEKING)
        now = time.monotonic()
        over = progress.total is not None and progress.done >= progress.total
        if now - self._shown_at < (_EVERY if self._terminal else _LINE_EVERY) and not (
            over and self._terminal
        ):
            return
        self._shown_at = now
        if self._live is not None and self._task is not None:
            self._live.update(
                self._task,
                total=progress.total,
                completed=progress.done,
                figures=figures(progress, self._creates),
            )
        elif not self._terminal:
            of = "" if progress.total is None else f" of {progress.total:,}"
            note(f"{progress.done:,}{of} · {figures(progress, self._creates)}")

    def say(self, text: str) -> None:
        """Say something above the bar."""
        if self._live is not None:
            self._live.console.print(text, style="yellow", highlight=False)
        else:
            note(text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def figures(progress: BatchProgress, creates: float | None) -> str:
    """Return the numbers of *progress* on one line."""
    limit = "" if creates is None else f" of {creates / 60:.3g}"
    parts = [f"{progress.ok:,} ok"]
    for name in ("failed", "uncertain", "resumed", "running", "reconciling"):
        count: int = getattr(progress, name)
        if count:
            parts.append(f"{count:,} {name}")
    parts.append(f"{progress.rate:.1f}{limit}/s")
    if progress.eta is not None:
        parts.append(f"{duration(progress.eta)} left")
    parts.append(f"{progress.predict_seconds:,.1f} predict s")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return *seconds* as a clock shows them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar() -> tuple[Progress, TaskID]:
    from rich.console import Console  # noqa: PLC0415 - only where a terminal shows it
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
    )

    columns: list[Any] = [
        TaskProgressColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,}"),
        TextColumn("{task.fields[figures]}", style="dim"),
    ]
    live = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    return live, live.add_task("", total=None, figures="")
