"""Bytes on their way to or from the API, and a bar on the terminal that shows how far they are."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from replicate_async import Replicate
from replicate_async.cli.errors import one_line
from replicate_async.context import context_of
from replicate_async.resources._prediction_calls import PredictionCalls

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from replicate_async.files.download import FileStream
    from replicate_async.files.output import FileSource

_LONGEST_NAME: Final = 40


class Bar:
    """A bar on stderr for one file; nothing is shown where that is no terminal."""

    def __init__(self, name: str, total: int | None = None) -> None:
        self._name = one_line(name)[-_LONGEST_NAME:]
        self._total = total
        self._shown = sys.stderr.isatty()
        self._live: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, done: int, total: int | None = None) -> None:
        """Show that *done* bytes are there, of *total* if it is known by now; from any thread."""
        if not self._shown:
            return
        self._total = total if total is not None else self._total
        if self._live is None or self._task is None:
            self._live = _bar()
            self._task = self._live.add_task(self._name, total=self._total)
            self._live.start()
        self._live.update(self._task, completed=done, total=self._total)


class WatchedFile(io.FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, report: Callable[[int], None]) -> None:
        super().__init__(path)
        self._report = report

    def read(self, size: int | None = -1) -> bytes:
        """Read up to *size* bytes, or all that are left."""
        data = super().read(-1 if size is None else size) or b""
        self._report(self.tell())
        return data


class WatchedClient:
    """A client for files that tells how many bytes of one have come, and how many there are."""

    def __init__(self, client: Replicate, report: Callable[[int, int | None], None]) -> None:
        source = PredictionCalls(context_of(client)).files

        async def watched(url: str, start: int = 0, validator: str = "") -> FileStream:
            stream = await source.open(url, start, validator)
            return _WatchedStream(stream, start if stream.status == 206 else 0, report)

        self._file_source: FileSource = source._replace(open=watched)


class _WatchedStream:
    def __init__(
        self, stream: FileStream, start: int, report: Callable[[int, int | None], None]
    ) -> None:
        self._stream = stream
        self._report = report
        self._done = start
        length = stream.headers.get("Content-Length", "")
        known = length.isascii() and length.isdigit() and len(length) < 18
        self._total = start + int(length) if known else None

    @property
    def status(self) -> int:
        return self._stream.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._stream.headers

    @property
    def encodings(self) -> Sequence[str]:
        return self._stream.encodings

    @property
    def encoding_read(self) -> str:
        return self._stream.encoding_read

    async def read(self) -> bytes:
        data = await self._stream.read()
        self._done += len(data)
        self._report(self._done, self._total)
        return data

    def close(self) -> None:
        self._stream.close()


def _bar() -> Progress:
    from rich.console import Console  # noqa: PLC0415 - only where a terminal shows it
    from rich.progress import (  # noqa: PLC0415 - rich is slow to import
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        # The embedded server has a use of its own for the two streams.
        redirect_stdout=False,
        redirect_stderr=False,
    )
