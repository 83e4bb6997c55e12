"""Sources of a file to be sent: memory, a path, an open file, or an iterator of bytes.

Files are read in threads, a piece at a time, so that neither the size of a file nor a slow disk
blocks the event loop.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast
from weakref import WeakKeyDictionary

from anyio import to_thread

from replicate_async.core.multipart import Reading
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.media import HEAD_SIZE
from replicate_async.files.readers import (
    CHUNK_SIZE,
    at_end,
    checked,
    translated_errors,
)
from replicate_async.files.threads import entered_in_thread


class FileHead(NamedTuple):
    """The first bytes of a file, and whether they are the whole file."""

    data: bytes
    is_complete: bool


Read = Callable[[int, int], Awaitable[object]]
"""Returns bytes from a position (the first argument), at most so many (the second)."""


class ChunkReader:
    """Reads a source in chunks, and checks that it gives exactly *size* bytes if that is known."""

    def __init__(self, source: Source, read: Read, size: int | None) -> None:
        self._source = source
        self._read = read
        self._position = 0
        self.size: int | None = size

    async def read(self) -> memoryview:
        """Return the next chunk; an empty one is the end."""
        left = CHUNK_SIZE if self.size is None else self.size - self._position
        if left == 0:
            return memoryview(b"")
        label = self._source.label
        with translated_errors(label):
            chunk = checked(await self._read(self._position, min(CHUNK_SIZE, left)), label)
        self._position += len(chunk)
        if not chunk and self.size is not None:
            raise InvalidArgumentError(
                f"{label} ended after {self._position:,} of {self.size:,} bytes; it was changed "
                "while it was sent."
            )
        self._source.check_size(self._position)
        return chunk


class Source(ABC):
    """A file to be sent; *label* names it in error messages."""

    name: str | None = None
    """The file name, if there is one."""
    type: str | None = None
    """The media type, if the caller's object states one."""
    size: int | None = None
    """Bytes; None if unknown."""
    max_size: int | None = None
    """Bytes; reading more raises `InvalidArgumentError`."""

    def __init__(self, label: str) -> None:
        self.label = label

    @property
    def replayable(self) -> bool:
        """Whether `open` can read the file from its start, also a second time."""
        return True

    def check_size(self, read: int = 0) -> None:
        """Raise `InvalidArgumentError` if the file is known to be larger than `max_size`.

        *read* is how many bytes were read of it.
        """
        size = self.size or read
        if self.max_size is not None and size > self.max_size:
            holds = f"holds {size:,} bytes, more" if self.size else "holds more"
            raise InvalidArgumentError(
                f"{self.label} {holds} than the {self.max_size:,} that the API takes as an upload; "
                "send a smaller file, or host it yourself and give its URL."
            )

    @abstractmethod
    async def read_head(self, limit: int) -> FileHead:
        """Return the whole file if it has at most *limit* bytes, else enough to tell its type.

        Sets name and size. Raises `InvalidArgumentError` if the file cannot be read.
        """

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Reading]:
        """Open the file for reading from its start."""

    def fingerprint(self, limit: int) -> list[object]:
        """Return plain values that are equal for equal content. Blocks: it reads the file.

        A path to a file of more than *limit* bytes is identified by path, size and time of change.
        Raises `InvalidArgumentError` for a file that cannot be read, or only once.
        """
        del limit
        raise InvalidArgumentError(
            f"{self.label} can be read only once, so it cannot be told from other files; pass a "
            "path or bytes."
        )

    async def aclose(self) -> None:
        """Release a source that is not read any further."""
        return


class Memory(Source):
    """Bytes, which are not copied."""

    def __init__(self, content: bytes | bytearray | memoryview, label: str) -> None:
        super().__init__(label)
        view = memoryview(content)
        self._view = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
        self.size: int | None = len(self._view)

    async def read_head(self, limit: int) -> FileHead:
        """Return the first bytes."""
        is_complete = len(self._view) <= limit
        return FileHead(bytes(self._view if is_complete else self._view[:HEAD_SIZE]), is_complete)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Reading]:
        """Give slices of the bytes."""

        async def read(position: int, limit: int) -> memoryview:
            return self._view[position : position + limit]

        yield ChunkReader(self, read, self.size)

    def fingerprint(self, limit: int) -> list[object]:
        """Return a digest of the bytes."""
        del limit
        return ["file", hashlib.sha256(self._view).hexdigest()]


class PathSource(Source):
    """A file by its path, opened for each attempt."""

    def __init__(self, path: Path, label: str) -> None:
        super().__init__(label)
        self._path = path
        self.name: str | None = path.name

    async def read_head(self, limit: int) -> FileHead:
        """Read the beginning of the file."""
        return await to_thread.run_sync(self._read_head, limit)

    def _read_head(self, limit: int) -> FileHead:
        with self._opened() as (file, size):
            self.size: int | None = size
            is_complete = size <= limit
            return FileHead(file.read(size if is_complete else HEAD_SIZE), is_complete)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Reading]:
        """Open the file; bytes that are appended to it later are not read."""
        async with entered_in_thread(self._opened()) as (file, size):
            yield ChunkReader(self, lambda _, limit: to_thread.run_sync(file.read, limit), size)

    def fingerprint(self, limit: int) -> list[object]:
        """Return a digest of the content, or path, size and time of change of a large file."""
        with self._opened() as (file, size):
            if size > limit:
                changed = os.fstat(file.fileno()).st_mtime_ns
                return ["file", str(self._path.resolve()), size, changed]
            return ["file", hashlib.file_digest(file, "sha256").hexdigest()]

    @contextmanager
    def _opened(self) -> Generator[tuple[BufferedReader, int]]:
        """Open the file; yields it with its size."""
        if "\0" in str(self._path):
            raise InvalidArgumentError(f"{self.label} is no path: it has a null in it.")
        with translated_errors(self.label):
            # Checked before opening: opening a pipe blocks until its writer opens it.
            mode = self._path.stat().st_mode
            if not stat.S_ISREG(mode):
                kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
                raise InvalidArgumentError(
                    f"{self.label} is {kind}; give the path of a file, or an open file."
                )
            with self._path.open("rb") as file:
                yield file, os.fstat(file.fileno()).st_size


class SharedPosition:
    """The position at which the caller left an open file, while it is read here.

    Several sources may read one file at a time: when it is sent to two models, say. The last of
    them sets the file back.
    """

    def __init__(self) -> None:
        self.lock: threading.Lock = threading.Lock()
        self._start = 0
        self._readers = 0

    @classmethod
    def of(cls, file: BinaryIO) -> SharedPosition:
        """Return the position that all readers of *file* share."""
        try:
            return _POSITIONS.setdefault(file, cls())
        except TypeError:  # of a class without weak references, or without a hash
            return cls()

    @contextmanager
    def held(self, file: BinaryIO) -> Generator[int]:
        """Return where *file* stands before it is read, and set it back there at the end."""
        with self.lock:
            if not self._readers:
                self._start = file.tell()
            self._readers += 1
        try:
            yield self._start
        finally:
            # The bytes are read: an error of seek would only hide them.
            with self.lock, suppress(Exception):
                self._readers -= 1
                if not self._readers:
                    file.seek(self._start)


_POSITIONS: Final[WeakKeyDictionary[BinaryIO, SharedPosition]] = WeakKeyDictionary()


class OpenFile(Source):
    """A file that the caller opened, read from its position, to which it is set back."""

    def __init__(self, file: BinaryIO, label: str, name: str | None = None) -> None:
        super().__init__(label)
        self._file = file
        self._start = 0
        self._position = SharedPosition.of(file)
        self.name = name

    async def read_head(self, limit: int) -> FileHead:
        """Read the beginning of the file."""
        return await to_thread.run_sync(self._read_head, limit)

    def _read_head(self, limit: int) -> FileHead:
        with self._at_start():
            end = self._end()
            self.size = None if end is None else max(0, end - self._start)
            is_large = self.size is not None and self.size > limit
            data = self._read(0, HEAD_SIZE if is_large else max(HEAD_SIZE, limit + 1))
            if not data:
                self._check_position()
            is_complete = not is_large and len(data) <= limit
            if is_complete:
                self.size = len(data)
            return FileHead(data, is_complete)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Reading]:
        """Begin at the position of the file."""
        async with entered_in_thread(self._at_start()):
            yield ChunkReader(
                self, lambda at, limit: to_thread.run_sync(self._read, at, limit), self.size
            )

    def fingerprint(self, limit: int) -> list[object]:
        """Return a digest of the content from the position of the file."""
        del limit
        with self._at_start():
            found, at = hashlib.sha256(), 0
            while chunk := self._read(at, CHUNK_SIZE):
                found.update(chunk)
                at += len(chunk)
            if not at:
                self._check_position()
        return ["file", found.hexdigest()]

    @contextmanager
    def _at_start(self) -> Generator[None]:
        with translated_errors(self.label), self._position.held(self._file) as self._start:
            yield

    def _read(self, position: int, limit: int) -> bytes:
        with self._position.lock:
            # No seek where none is needed: a compressed file would start again from its top.
            if self._file.tell() != self._start + position:
                self._file.seek(self._start + position)
            pieces: list[bytes] = []
            while limit > 0 and (piece := bytes(checked(self._file.read(limit), self.label))):
                pieces.append(piece)
                limit -= len(piece)
            return b"".join(pieces)  # of one piece without a copy

    def _check_position(self) -> None:
        """Refuse a file that stands at its end, unless it is empty."""
        if self._start and self._end() != 0:
            raise at_end(self.label, self._start)

    def _end(self) -> int | None:
        with self._position.lock:
            try:
                return self._file.seek(0, os.SEEK_END)
            except Exception:  # noqa: BLE001 - a compressed file cannot; reading tells other errors
                return None


class OneShotSource(Source):
    """A source that can be read once: an iterator, or a file that cannot seek."""

    def __init__(self, chunks: AsyncIterable[object], label: str, name: str | None = None) -> None:
        super().__init__(label)
        self.name = name
        with translated_errors(label):
            self._chunks: AsyncIterator[object] = aiter(chunks)
        self._head: deque[bytes] = deque()
        self._begun = False

    @property
    def replayable(self) -> bool:
        """Whether no chunk has been read yet, other than by `read_head`."""
        return not self._begun

    async def read_head(self, limit: int) -> FileHead:
        """Read the first chunks, and keep them."""
        size = 0
        while size <= max(limit, 0):
            chunk = await self._next()
            if not chunk:
                self.size: int | None = size
                break
            self._head.append(chunk)
            size += len(chunk)
        return FileHead(b"".join(self._head), is_complete=size <= limit)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Reading]:
        """Give the chunks that were kept, and then the others."""
        try:
            yield ChunkReader(self, self._read, self.size)
        finally:
            if self._begun:
                await self.aclose()

    async def aclose(self) -> None:
        """Close a generator; the event loop would close it later, in a task of its own."""
        chunks: object = self._chunks
        if isinstance(chunks, AsyncGenerator):
            # It may be running, in a task that is being cancelled; and its cleanup may fail.
            with suppress(Exception):
                await cast("AsyncGenerator[object]", chunks).aclose()

    async def _read(self, _position: int, _limit: int) -> bytes:
        self._begun = True
        return self._head.popleft() if self._head else await self._next()

    async def _next(self) -> bytes:
        """Return the next chunk that is not empty; nothing at the end."""
        with translated_errors(self.label):
            async for chunk in self._chunks:
                if not isinstance(chunk, bytes | bytearray | memoryview):
                    raise InvalidArgumentError(
                        f"{self.label} yielded a {type(chunk).__name__}; it must yield bytes."
                    )
                if content := bytes(cast("bytes | bytearray | memoryview", chunk)):
                    return content
            return b""
