"""Saving a file: from the network to the disk, without blocking the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Final, Protocol, cast

from replicate_async.core.endpoint import shorten
from replicate_async.core.tasks import wait_uncancelled
from replicate_async.errors import APIConnectionError, FileError, InvalidArgumentError
from replicate_async.files.download import Download
from replicate_async.files.folder import Folder, Part
from replicate_async.files.names import safe_name
from replicate_async.files.threads import run_in_thread

_BATCH: Final = 1024 * 1024
"""Bytes that are written at once; larger batches would not stay in the processor's cache."""
_WORTH_KEEPING: Final = 8 * 1024 * 1024
"""Bytes; a smaller part of a download is not kept for a later save."""
_ADVICE: Final = {
    errno.ENOENT: 'make the folder first, or give a folder as "folder/"',
    errno.ENOTDIR: "a part of the path is a file",
    errno.ENOSPC: "make room, and save it again",
    errno.EACCES: "give a folder that may be written to",
}


class SavableFile(Protocol):
    """The part of `FileOutput` that saving uses."""

    @property
    def url(self) -> str:
        """The URL; a data URL holds the file itself."""
        ...

    @property
    def name(self) -> str:
        """The file name, as far as it is known."""
        ...

    async def held(self, max_size: int | None) -> bytes | None:
        """Return the bytes if they need not be downloaded."""
        ...

    def download(
        self, *, start: int = 0, validator: str = "", max_size: int | None = None
    ) -> Download:
        """Return a download that has not begun."""
        ...

    def learn(self, download: Download) -> None:
        """Take over size, type and name from the answer of the host."""
        ...


async def save_file(
    file: SavableFile, path: str | PathLike[str], *, overwrite: bool, max_size: int | None
) -> Path:
    """Save *file* at *path*; the body of `FileOutput.save`."""
    place = checked_path(path, "path")
    async with saver_of(file, place, overwrite=overwrite, max_size=max_size) as saver:
        await saver.begin()
        await saver.copy()
        return await saver.publish(safe_name(file.name))


@asynccontextmanager
async def saver_of(
    file: SavableFile,
    path: str,
    *,
    is_folder: bool = False,
    overwrite: bool,
    max_size: int | None = None,
    on_write: Callable[[int], None] | None = None,
) -> AsyncGenerator[FileSaver]:
    """Save *file* at *path*, or in it when it is a folder; its errors are `FileError`.

    *on_write* is called with the number of bytes written so far.
    """
    saver = FileSaver(file, overwrite=overwrite, max_size=max_size, on_write=on_write)
    keep = False
    try:
        await run_in_thread(saver.open, path, is_folder=is_folder)
        yield saver
    except OSError as error:
        raise _disk_error(error, Path(path)) from None
    except FileError as error:
        error.path = error.path or Path(path)
        raise
    except (APIConnectionError, asyncio.CancelledError):
        keep = True
        raise
    finally:
        await saver.aclose(keep=keep)


class FileSaver:
    """Saves one file in four steps: `open`, `begin`, `copy` and `publish`.

    The bytes go to a part file beside the target. A part file that is worth it is kept when the
    download breaks off, and a later save of the same URL to the same name resumes it.
    """

    def __init__(
        self,
        file: SavableFile,
        *,
        overwrite: bool,
        max_size: int | None,
        on_write: Callable[[int], None] | None,
    ) -> None:
        self._file = file
        self._overwrite = overwrite
        self._max_size = max_size
        self._on_write = on_write
        self._folder: Folder | None = None
        self._target: str | None = None
        self._part: Part | None = None
        self._source: Download | bytes = b""
        self._writing: asyncio.Future[None] | None = None
        self.written: int = 0
        """Bytes that are written, or being written."""

    def open(self, path: str, *, is_folder: bool) -> None:
        """Open the folder; raises if the file must not be saved there. Blocks."""
        make = is_folder or path.endswith(("/", os.sep))
        place = Path(path)
        if make or place.is_dir():
            self._folder = Folder(place, make=make)
        else:
            self._target = place.name
            self._folder = Folder(place.parent, make=False)
            self._folder.check(place.name, overwrite=self._overwrite)

    async def begin(self) -> None:
        """Send the request, after which the name of the file is known."""
        file = self._file
        data = await file.held(self._max_size)
        if data is not None:
            self._source = data
            await self._restart("")
            return
        await run_in_thread(self._find_part)
        start, validator = self.written, "" if self._part is None else self._part.validator
        self._source = download = file.download(
            start=start, validator=validator, max_size=self._max_size
        )
        begin = await download.open()
        file.learn(download)
        if self._part is None or begin != start:
            await self._restart(download.validator)

    async def copy(self) -> None:
        """Write the bytes to the part file."""
        if isinstance(self._source, bytes):
            await self._write([self._source])
            await self._flush()
            return
        download = self._source
        batch: list[bytes] = []
        end, held = self.written, 0
        while True:
            piece = await download.read()
            if piece.start != end:
                batch, held, end = [], 0, piece.start
                await self._flush()
                await self._restart(download.validator)
            batch.append(piece.data)
            held += len(piece.data)
            end += len(piece.data)
            if held >= _BATCH or not piece.data:
                await self._write(batch)
                batch, held = [], 0
            if not piece.data:
                self._file.learn(download)
                await self._flush()
                return

    async def publish(self, name: str) -> Path:
        """Give the complete file its name, which is *name* in a folder; returns its path."""
        return await run_in_thread(self._publish, name)

    def _publish(self, name: str) -> Path:
        folder, part = self._opened_folder, self._opened_part
        part.settle(self.written)
        return folder.path / folder.publish(
            part,
            self._target or name,
            unique=self._target is None and not self._overwrite,
            overwrite=self._overwrite,
        )

    async def aclose(self, *, keep: bool) -> None:
        """Close all; the part file is removed unless *keep* and it is worth keeping."""
        if isinstance(self._source, Download):
            self._source.close()
        try:
            with suppress(OSError):
                await self._flush()
        finally:
            await run_in_thread(self._drop_part, keep=keep and self.written >= _WORTH_KEEPING)

    def _find_part(self) -> None:
        self._part = self._opened_folder.find_part(self._key)
        if self._part is not None:
            self.written = self._part.seek_end()

    async def _restart(self, validator: str) -> None:
        """Replace the part file by an empty one."""
        await run_in_thread(self._make_part, validator)
        self.written = 0

    def _make_part(self, validator: str) -> None:
        self._drop_part(keep=False)
        self._part = self._opened_folder.make_part(self._key, validator)

    def _drop_part(self, *, keep: bool) -> None:
        part, self._part = self._part, None
        if part is not None:
            self._opened_folder.drop(part, keep=keep and bool(part.validator))

    async def _write(self, batch: Sequence[bytes]) -> None:
        """Write *batch* in a thread, while the next one is read."""
        await self._flush()
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._opened_part.write, batch)
        self.written += sum(map(len, batch))
        if self._on_write is not None:
            self._on_write(self.written)

    async def _flush(self) -> None:
        """Wait until the last batch is written."""
        if self._writing is not None:
            await wait_uncancelled(self._writing)
            writing, self._writing = self._writing, None
            writing.result()

    @property
    def _key(self) -> str:
        # A download for one name is not resumed for another.
        return f"{self._file.url}\n{self._target or ''}"

    @property
    def _opened_folder(self) -> Folder:
        assert self._folder is not None  # noqa: S101 - `open` sets it
        return self._folder

    @property
    def _opened_part(self) -> Part:
        assert self._part is not None  # noqa: S101 - `begin` sets it
        return self._part


def checked_path(path: object, argument: str) -> str:
    """Return *path* as text; raises `InvalidArgumentError` if it is not a path."""
    text = path
    if isinstance(path, PathLike):
        text = os.fspath(cast("PathLike[str]", path))
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidArgumentError(
            f"{argument}={shorten(text)} is not a path: it must be a text, not empty and without "
            "NUL; give a file or a folder."
        )
    return text


def _disk_error(error: OSError, path: Path) -> FileError:
    advice = _ADVICE.get(error.errno or 0, "")
    reason = error.strerror or type(error).__name__
    message = f"{path} cannot be saved: {reason}{advice and '; '}{advice}."
    return FileError(message, path=path, errno=error.errno)
