"""A bar for a batch: how far it is, how fast, how much is left, what failed.

On a terminal it is tqdm's; needs the extra: ``pip install 'replicate-async[progress]'``. In a
notebook it is plain HTML, which needs nothing, and stays as it was last in the saved notebook.
"""

from __future__ import annotations

import importlib
import sys
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TextIO

if TYPE_CHECKING:
    from replicate_async.runs.batch.results import BatchProgress


__all__ = ["ProgressBar"]

_COUNTS: Final = ("ok", "failed", "uncertain", "resumed", "running", "reconciling")


class ProgressBar:
    """A bar to pass as *on_progress* of ``client.batch``; use it with ``with``.

    In a notebook it is a line of HTML, which a saved notebook and its static pages keep.

    Example::

        with ProgressBar("pictures") as bar:
            async for result in client.batch("owner/name", inputs, on_progress=bar):
                ...

    Args:
        description: A text before the bar.
        file: Where tqdm draws the bar; by default the notebook, else standard error.
    """

    def __init__(self, description: str | None = None, *, file: TextIO | None = None) -> None:
        in_notebook = file is None and _in_notebook()
        self._bar: _Bar = _NotebookBar(description) if in_notebook else _Tqdm(description, file)

    def __call__(self, progress: BatchProgress) -> None:
        """Show *progress*; what was replayed from a journal counts as done, not as fast."""
        self._bar.show(progress)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Bar(Protocol):
    """A bar on a terminal or in a notebook."""

    def show(self, progress: BatchProgress) -> None: ...

    def close(self) -> None: ...


class _Tqdm:
    """A bar of tqdm's."""

    def __init__(self, description: str | None, file: TextIO | None) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - an extra

        self._bar: Any = tqdm(desc=description, unit="item", file=file, smoothing=0.1)

    def show(self, progress: BatchProgress) -> None:
        bar = self._bar
        if bar.total != progress.total:
            bar.total = progress.total
        bar.initial = progress.resumed
        bar.set_postfix(_counts(progress), refresh=False)
        bar.update(progress.done - bar.n)

    def close(self) -> None:
        self._bar.refresh()
        self._bar.close()


class _NotebookBar:
    """An output of a notebook that is replaced as the batch goes on.

    A widget's state is not in the page that a saved notebook becomes; HTML is.
    """

    def __init__(self, description: str | None) -> None:
        shown: Any = importlib.import_module("IPython.display")  # which a notebook has
        self._description = description
        self._last: BatchProgress | None = None
        self._output: Any = shown.display(self._bundle("not begun"), raw=True, display_id=True)

    def show(self, progress: BatchProgress) -> None:
        self._last = progress
        parts = [*self._done(progress), f"{progress.rate:.1f}/s"]
        if progress.eta is not None:
            parts.append(f"{_time(progress.eta)} left")
        self._output.update(self._bundle(", ".join(parts)), raw=True)

    def close(self) -> None:
        if self._last is not None:
            line = f"{', '.join(self._done(self._last))} in {_time(self._last.seconds)}"
            self._output.update(self._bundle(line), raw=True)

    @staticmethod
    def _done(progress: BatchProgress) -> list[str]:
        of = "" if progress.total is None else f" of {progress.total:,}"
        counts = (f"{count:,} {name}" for name, count in _counts(progress).items())
        return [f"{progress.done:,}{of}", *counts]

    def _bundle(self, line: str) -> dict[str, str]:
        text = line if self._description is None else f"{self._description}: {line}"
        last = self._last
        bar = ""
        if last is not None and last.total:
            # A page without its stylesheets still shows the text.
            bar = f'<progress value="{last.done}" max="{last.total}"></progress> '
        return {"text/plain": text, "text/html": f"<div>{bar}{escape(text)}</div>"}


def _counts(progress: BatchProgress) -> dict[str, int]:
    counts: dict[str, int] = {name: getattr(progress, name) for name in _COUNTS}
    return {name: count for name, count in counts.items() if count}


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _in_notebook() -> bool:
    """Whether the code runs in a kernel, whose outputs may be HTML."""
    found: Any = sys.modules.get("IPython")  # a notebook has imported it
    return found is not None and getattr(found.get_ipython(), "kernel", None) is not None
