"""Blobs: the bytes of files, small ones in memory and large ones on disk."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Self

from replicate_async.local.temp_folder import TempFolder

IN_MEMORY: Final = 64 * 1024
"""The largest blob that is kept in memory, in bytes."""
_READ: Final = 256 * 1024
_WRITE: Final = 1024 * 1024


@dataclass(frozen=True)
class Blob:
    """Immutable bytes."""

    size: int
    md5: str
    sha256: str
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    """The file of a large blob; `discard` removes it."""

    @property
    def etag(self) -> str:
        """A strong ETag."""
        return f'"{self.sha256[:32]}"'

    async def read(self) -> bytes:
        """Return all bytes; raises `FileNotFoundError` once the blob was discarded."""
        if self.path is None:
            return self.data or b""
        return await asyncio.to_thread(self.path.read_bytes)

    async def chunks(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        """Yield the bytes from *start* to *stop* in pieces.

        Raises `FileNotFoundError` once the blob was discarded.
        """
        if self.path is None:
            yield (self.data or b"")[start:stop]
            return
        reader = _Reader(self.path, start, stop)
        try:
            while chunk := await asyncio.to_thread(reader.read):
                yield chunk
        finally:
            _in_background(reader.close)

    async def copy_to(self, path: Path) -> None:
        """Write the bytes to *path*; raises `FileNotFoundError` once the blob was discarded."""
        if self.path is not None:
            await asyncio.to_thread(shutil.copyfile, self.path, path)
        else:
            await asyncio.to_thread(path.write_bytes, self.data or b"")

    def discard(self) -> None:
        """Remove the file; open readers still read it to its end."""
        path = self.path
        if path is not None:
            _in_background(lambda: path.unlink(missing_ok=True))


class BlobWriter:
    """Makes a blob of bytes that arrive, as an async context manager.

    Threads hash and write a megabyte at a time. Leaving the context before `finish` removes the
    file. Raises `OSError` when the disk is full.
    """

    def __init__(self, disk: TempFolder) -> None:
        self.size: int = 0
        self._writer = _Writer(disk)
        self._waiting = bytearray()
        self._begun = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._begun and not self._writer.finished:
            # Not awaited: the thread of a cancelled task may still be writing.
            _in_background(self._writer.abandon)

    async def write(self, chunk: bytes) -> None:
        """Add *chunk*."""
        self.size += len(chunk)
        if len(chunk) >= _WRITE:
            # A large chunk is not copied into the buffer.
            await self._flush()
            self._begun = True
            await asyncio.to_thread(self._writer.write, chunk)
            return
        self._waiting += chunk
        if len(self._waiting) >= _WRITE:
            await self._flush()

    async def copy(self, path: Path) -> None:
        """Add the bytes of the file at *path*."""
        await self._flush()
        self._begun = True
        self.size += await asyncio.to_thread(self._writer.copy, path)

    async def finish(self) -> Blob:
        """Return the blob."""
        if self.size <= IN_MEMORY and len(self._waiting) == self.size:
            return in_memory(bytes(self._waiting))
        await self._flush()
        content = await asyncio.to_thread(self._writer.finish)
        self._writer.finished = True
        return content

    async def _flush(self) -> None:
        if self._waiting:
            full, self._waiting = self._waiting, bytearray()
            self._begun = True
            await asyncio.to_thread(self._writer.write, full)


def in_memory(data: bytes) -> Blob:
    """Return a blob of *data* in memory."""
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Blob(len(data), digest, hashlib.sha256(data).hexdigest(), data)


class _Writer:
    """Writes and hashes a file; its methods run in threads, one at a time."""

    def __init__(self, disk: TempFolder) -> None:
        self._disk = disk
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._abandoned = False
        self.finished = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with self._lock:
            if self._abandoned:
                return
            if self._file is None:
                self._path = self._disk.place()
                self._file = self._path.open("xb")
            self._md5.update(data)
            self._sha256.update(data)
            self._file.write(data)
            self._size += len(data)

    def copy(self, path: Path) -> int:
        copied = 0
        with path.open("rb") as source:
            while not self._abandoned and (chunk := source.read(_WRITE)):
                self.write(chunk)
                copied += len(chunk)
        return copied

    def finish(self) -> Blob:
        with self._lock:
            if self._abandoned or self._file is None:
                return in_memory(b"")
            self._file.close()
            md5, sha256 = self._md5.hexdigest(), self._sha256.hexdigest()
            return Blob(self._size, md5, sha256, path=self._path)

    def abandon(self) -> None:
        """Close and remove the file; later writes are ignored."""
        self._abandoned = True
        with self._lock:
            if self._file is not None:
                self._file.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)


class _Reader:
    """Reads a file; its methods run in threads, and `read` returns nothing after `close`."""

    def __init__(self, path: Path, start: int, stop: int) -> None:
        self._path = path
        self._start = start
        self._left = stop - start
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._closed = False

    def read(self) -> bytes:
        with self._lock:
            if self._closed or not self._left:
                return b""
            if self._file is None:
                self._file = self._path.open("rb")
                self._file.seek(self._start)
            chunk = self._file.read(min(_READ, self._left))
            self._left -= len(chunk)
            return chunk

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()


def _in_background(work: Callable[[], object]) -> None:
    """Run *work* in a thread without waiting, or here once the loop is closed."""
    try:
        asyncio.get_running_loop().run_in_executor(None, work)
    except RuntimeError:
        work()
