"""A bar of tqdm's for a batch: how far it is, how fast, how much is left, what failed.

Needs the extra: ``pip install 'replicate-async[progress]'`` (tqdm).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from replicate_async.runs.batch.results import BatchProgress


__all__ = ["ProgressBar"]


class ProgressBar:
    """A bar to pass as *on_progress* of ``client.batch``; use it with ``with``.

    In a notebook it is the notebook's own widget.

    Example::

        with ProgressBar("pictures") as bar:
            async for result in client.batch("owner/name", inputs, on_progress=bar):
                ...

    Args:
        description: A text before the bar.
        file: Where the bar is drawn; by default standard error.
    """

    def __init__(self, description: str | None = None, *, file: TextIO | None = None) -> None:
        from tqdm.auto import tqdm  # noqa: PLC0415 - an extra

        self._bar: Any = tqdm(desc=description, unit="item", file=file, smoothing=0.1)

    def __call__(self, progress: BatchProgress) -> None:
        """Show *progress*; what was replayed from a journal counts as done, not as fast."""
        bar = self._bar
        if bar.total != progress.total:
            bar.total = progress.total
        bar.initial = progress.resumed
        counts = {
            name: getattr(progress, name)
            for name in ("ok", "failed", "uncertain", "resumed", "running", "reconciling")
        }
        shown = {name: count for name, count in counts.items() if count}
        bar.set_postfix(shown, refresh=False)
        bar.update(progress.done - bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.refresh()
        self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
