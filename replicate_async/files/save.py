"""Saving a file: from the network to the disk, without blocking the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias, cast

from replicate_async.core.endpoint import shorten
from replicate_async.core.tasks import wait_uncancelled
from replicate_async.errors import APIConnectionError, FileError, InvalidArgumentError
from replicate_async.files.download import Piece
from replicate_async.files.part_file import PartFile, check_target
from replicate_async.files.threads import run_in_thread

Pieces: TypeAlias = Callable[[int, str], AsyncGenerator[Piece]]
"""Downloads a file from a byte on, if it still has an ETag (the second argument)."""

_BATCH: Final = 1024 * 1024
"""Bytes that are written at once; larger batches would not stay in the processor's cache."""
_WORTH_KEEPING: Final = 8 * 1024 * 1024
"""Bytes; a smaller part of a download is not kept for a later save."""
_ADVICE: Final = {
    errno.ENOENT: 'make the folder first, or give a folder as "folder/"',
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a file has the name of the folder",
    errno.ENOSPC: "make room, and save it again",
    errno.EACCES: "give a folder that may be written to",
}


async def save_file(
    pieces: Pieces,
    url: str,
    path: str,
    *,
    name: Callable[[], Awaitable[str]],
    is_folder: bool = False,
    overwrite: bool,
    on_write: Callable[[int], None] | None = None,
) -> Path:
    """Save the file at *url* at *path*, or in it when it is a folder; its errors are `FileError`.

    *name* is called when all bytes are written, unless *path* is that of a file. *on_write* is
    called with the number of bytes written so far, first when the host has answered.
    """
    try:
        folder, target = await run_in_thread(
            _target, path, is_folder=is_folder, overwrite=overwrite
        )
        # A download for one name is not resumed for another.
        async with _Writer(folder, f"{url}\n{target or ''}", on_write) as writer:
            await writer.copy(pieces)
            unique = target is None and not overwrite
            return await writer.publish(target or await name(), unique=unique, overwrite=overwrite)
    except OSError as error:
        raise _disk_error(error, Path(path)) from None
    except FileError as error:
        error.path = error.path or Path(path)
        raise


class _Writer:
    """Writes a download to a part file, in threads, while the next pieces are read.

    A part file that is worth it is kept when the download breaks off, and a later save of the same
    URL to the same name resumes it.
    """

    def __init__(self, folder: Path, key: str, on_write: Callable[[int], None] | None) -> None:
        self._folder = folder
        self._key = key
        self._on_write = on_write
        self._part: PartFile | None = None
        self._written = 0
        self._writing: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the part file; it stays if it is worth keeping and the download broke off."""
        keep = isinstance(error, APIConnectionError | asyncio.CancelledError)
        try:
            with suppress(OSError):
                await self._flush()
        finally:
            await run_in_thread(self._close, keep=keep and self._written >= _WORTH_KEEPING)

    async def copy(self, pieces: Pieces) -> None:
        """Write the bytes of a file, after those that an earlier save has left."""
        await run_in_thread(self._resume)
        end, validator = (self._written, self._part.validator) if self._part else (0, "")
        batch: list[bytes] = []
        size = 0
        async with aclosing(pieces(end, validator)) as stream:
            async for piece in stream:
                if piece.start != end or self._part is None:
                    batch, size, end = [], 0, piece.start
                    await self._flush()
                    await run_in_thread(self._restart, piece.validator)
                batch.append(piece.data)
                size += len(piece.data)
                end += len(piece.data)
                if size >= _BATCH or not piece.data:
                    await self._write(batch)
                    batch, size = [], 0
        await self._write(batch)
        await self._flush()

    async def publish(self, name: str, *, unique: bool, overwrite: bool) -> Path:
        """Give the complete file its name; returns its path."""
        assert self._part is not None  # noqa: S101 - `copy` sets it
        publish, size = self._part.publish, self._written
        return await run_in_thread(publish, name, size=size, unique=unique, overwrite=overwrite)

    def _resume(self) -> None:
        self._part = PartFile.resume(self._folder, self._key)
        if self._part is not None:
            self._written = self._part.seek_end()

    def _restart(self, validator: str) -> None:
        """Replace the part file by an empty one."""
        self._close(keep=False)
        self._part = PartFile.create(self._folder, self._key, validator)
        self._written = 0

    def _close(self, *, keep: bool) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.close(keep=keep)

    async def _write(self, batch: Sequence[bytes]) -> None:
        """Write *batch* in a thread, while the next one is read."""
        await self._flush()
        self._written += sum(map(len, batch))
        if self._part is not None and any(batch):
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(None, self._part.write, batch)
        if self._on_write is not None:
            self._on_write(self._written)

    async def _flush(self) -> None:
        """Wait until the last batch is written."""
        if self._writing is not None:
            await wait_uncancelled(self._writing)
            writing, self._writing = self._writing, None
            writing.result()


def checked_path(path: object, argument: str, *, is_recorded: bool = False) -> str:
    """Return *path* as text; raises `InvalidArgumentError` if it is not a path.

    One that *is_recorded* must be UTF-8, which the names of files need not be.
    """
    text: object = None
    with suppress(TypeError, UnicodeEncodeError):
        text = os.fspath(cast("str | PathLike[str] | bytes", path))
        if isinstance(text, str) and text and "\0" not in text:
            _ = text.encode() if is_recorded else os.fsencode(text)
            return text
    raise InvalidArgumentError(
        f"{argument}={shorten(text or path)} is not a path: it must be a text, not empty, valid "
        "Unicode and without NUL; give a file or a folder."
    )


async def make_folder(path: str) -> None:
    """Make the folder *path* if it is missing; raises `FileError` if no file can be put there."""
    try:
        await run_in_thread(_target, path, is_folder=True, overwrite=False)
        if not await run_in_thread(os.access, path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _disk_error(error, Path(path)) from None


def _target(path: str, *, is_folder: bool, overwrite: bool) -> tuple[Path, str | None]:
    """Return the folder to save in, and the name in it unless *path* is the folder. Blocks.

    Raises `FileError` or `OSError` if the file cannot be saved there.
    """
    place = Path(path)
    if is_folder or path.endswith(("/", os.sep)):
        place.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        return place, None
    place.parent.stat()
    check_target(place, overwrite=overwrite)
    return place.parent, place.name


def _disk_error(error: OSError, path: Path) -> FileError:
    advice = _ADVICE.get(error.errno or 0, "")
    reason = error.strerror or type(error).__name__
    message = f"{path} cannot be saved: {reason}{advice and '; '}{advice}."
    return FileError(message, path=path, errno=error.errno)
