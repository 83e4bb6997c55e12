"""What a file is read from: memory, a path, an open file, an iterator of bytes.

All reading is done in threads, a piece at a time, so that neither the size of a file nor the speed
of its disk shows on the event loop.
"""

from __future__ import annotations

import asyncio
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
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeVar, cast
from weakref import WeakKeyDictionary

from anyio import to_thread

from replicate_async.core.multipart import Reading
from replicate_async.core.tasks import wait_uncancelled
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.media import ENOUGH
from replicate_async.files.readers import PIECE, at_end, checked, explained, unreadable

T = TypeVar("T")


class FileHead(NamedTuple):
    """What content starts with, and whether that is all of it."""

    data: bytes
    whole: bool


Read = Callable[[int, int], Awaitable[object]]
"""Returns at most so many bytes (the second) from a position on, nothing at the end."""


class ChunkReader:
    """A reading that gives exactly *size* bytes, where that is known, or says what is wrong."""

    def __init__(self, source: Source, read: Read, size: int | None) -> None:
        self._source = source
        self._read = read
        self._given = 0
        self.size: int | None = size

    async def read(self) -> memoryview:
        """Return the next piece; an empty one is the end."""
        left = PIECE if self.size is None else self.size - self._given
        if left == 0:
            return memoryview(b"")
        what, most = self._source.what, self._source.most
        piece = checked(await self._read(self._given, min(PIECE, left)), what)
        self._given += len(piece)
        if not piece and self.size is not None:
            raise InvalidArgumentError(
                f"{what} ended after {self._given:,} of {self.size:,} bytes; it was changed while "
                "it was sent."
            )
        if most is not None and self._given > most:
            raise too_large(what, None, most)
        return piece


def too_large(what: str, size: int | None, most: int) -> InvalidArgumentError:
    """Return the error for a file of more than *most* bytes."""
    holds = "holds more" if size is None else f"holds {size:,} bytes, more"
    return InvalidArgumentError(
        f"{what} {holds} than the {most:,} that the API takes as an upload; send a smaller file, "
        "or host it yourself and give its URL."
    )


class Source(ABC):
    """Content to be sent, and the words for it in a message."""

    name: str | None = None
    """The name of the file, where it has one."""
    type: str | None = None
    """The media type, where the caller's object states one."""
    size: int | None = None
    """Bytes; None when that is not known."""
    most: int | None = None
    """Bytes that may be sent; reading more than that fails."""

    def __init__(self, what: str) -> None:
        self.what = what

    @property
    def replayable(self) -> bool:
        """Whether it can be read from its start, again if it was read before."""
        return True

    @abstractmethod
    async def start(self, most: int) -> FileHead:
        """Return all of it if that is *most* bytes or less, else enough to tell its type.

        Finds out name and size. Raises `InvalidArgumentError` if it cannot be read.
        """

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Reading]:
        """Begin to read it from its start."""

    def fingerprint(self, most: int) -> list[object]:
        """Return plain values that are equal for equal content; reads it, so call it in a thread.

        A file of more than *most* bytes goes by path, size and time of change. Raises
        `InvalidArgumentError` for what cannot be read, or not again afterwards.
        """
        del most
        raise InvalidArgumentError(
            f"{self.what} can be read only once, so it cannot be told from other files; pass a "
            "path or bytes."
        )

    async def aclose(self) -> None:
        """Let go of what is not going to be read."""
        return


class Memory(Source):
    """Bytes, without a copy of them."""

    def __init__(self, content: bytes | bytearray | memoryview, what: str) -> None:
        super().__init__(what)
        view = memoryview(content)
        self._view = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
        self.size: int | None = len(self._view)

    async def start(self, most: int) -> FileHead:
        """Return the first bytes."""
        whole = len(self._view) <= most
        return FileHead(bytes(self._view if whole else self._view[:ENOUGH]), whole)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Reading]:
        """Give slices of it."""
        yield ChunkReader(self, self._read, self.size)

    async def _read(self, at: int, most: int) -> memoryview:
        return self._view[at : at + most]

    def fingerprint(self, most: int) -> list[object]:
        """Return a digest of the bytes."""
        del most
        return ["file", hashlib.sha256(self._view).hexdigest()]


class PathSource(Source):
    """A file by its path, opened anew for each attempt."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(what)
        self._path = path
        self.name: str | None = path.name

    async def start(self, most: int) -> FileHead:
        """Look into the file."""
        return await to_thread.run_sync(self._start, most)

    def _start(self, most: int) -> FileHead:
        file, size = self._opened()
        with file:
            self.size: int | None = size
            whole = size <= most
            with explained(self.what):
                return FileHead(file.read(size if whole else ENOUGH), whole)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Reading]:
        """Open the file; what is appended to it from now on is not read."""
        async with _in_thread(self._opened, lambda opened: opened[0].close()) as (file, size):

            def read(most: int) -> bytes:
                with explained(self.what):
                    return file.read(most)

            yield ChunkReader(self, lambda _, most: to_thread.run_sync(read, most), size)

    def fingerprint(self, most: int) -> list[object]:
        """Return a digest of the content, or path, size and time of change of a large file."""
        file, size = self._opened()
        with file, explained(self.what):
            if size > most:
                changed = os.fstat(file.fileno()).st_mtime_ns
                return ["file", str(self._path.resolve()), size, changed]
            found = hashlib.sha256()
            while piece := file.read(PIECE):
                found.update(piece)
            return ["file", found.hexdigest()]

    def _opened(self) -> tuple[BinaryIO, int]:
        try:
            # Looked at before it is opened: to open a pipe waits for whoever writes to it.
            mode = self._path.stat().st_mode
            if stat.S_ISREG(mode):
                file = self._path.open("rb")
                return file, os.fstat(file.fileno()).st_size
        except OSError as error:
            raise unreadable(self.what, error) from error
        except ValueError:
            raise InvalidArgumentError(f"{self.what} is no path: it has a null in it.") from None
        kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise InvalidArgumentError(
            f"{self.what} is {kind}; give the path of a file, or an open file."
        )


@asynccontextmanager
async def _in_thread(begin: Callable[[], T], end: Callable[[T], object]) -> AsyncGenerator[T]:
    """Hold what *begin* returns until *end*, both in threads, whenever this task is cancelled."""
    lock = threading.Lock()
    begun: list[T] = []
    over = False

    def start() -> None:
        with lock:
            if not over:
                begun.append(begin())

    def stop() -> None:
        nonlocal over
        with lock:
            over = True
            for held in begun:
                end(held)

    try:
        await to_thread.run_sync(start)
        yield begun[0]
    finally:
        stopped = asyncio.get_running_loop().run_in_executor(None, stop)
        await wait_uncancelled(stopped)
        stopped.result()


class _Loan:
    """What is known of an open file while it is read here: where its owner left it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.home = 0
        self.readers = 0


_LOANS: Final[WeakKeyDictionary[BinaryIO, _Loan]] = WeakKeyDictionary()


def _loan_of(file: BinaryIO) -> _Loan:
    try:
        return _LOANS.setdefault(file, _Loan())
    except TypeError:  # of a class without weak references, or without a hash
        return _Loan()


class OpenFile(Source):
    """A file that its owner opened, from where it stands; it stands there again afterwards.

    Several can read the same file at once, as happens when it goes to two models.
    """

    def __init__(self, file: BinaryIO, what: str, name: str | None = None) -> None:
        super().__init__(what)
        self._file = file
        self._home = 0
        self._loan = _loan_of(file)
        self.name = name

    async def start(self, most: int) -> FileHead:
        """Look into the file."""
        return await to_thread.run_sync(self._start, most)

    def _start(self, most: int) -> FileHead:
        with explained(self.what), self._borrowed():
            self._home = self._loan.home
            self.size = self._measured()
            known = self.size is not None and self.size > most
            data = self._read(0, ENOUGH if known else max(ENOUGH, most + 1))
            if not data:
                self._check_position()
            whole = not known and len(data) <= most
            if whole:
                self.size = len(data)
            return FileHead(data, whole)

    def _check_position(self) -> None:
        """Refuse a file of which nothing is left, unless it is empty."""
        if self._home and self._end() != 0:
            raise at_end(self.what, self._home)

    def fingerprint(self, most: int) -> list[object]:
        """Return a digest of the content from where the file stands."""
        del most
        with explained(self.what), self._borrowed():
            self._home = self._loan.home
            found, at = hashlib.sha256(), 0
            while piece := self._read(at, PIECE):
                found.update(piece)
                at += len(piece)
            if not at:
                self._check_position()
        return ["file", found.hexdigest()]

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Reading]:
        """Begin where the file stood."""
        borrowed = self._borrowed()
        async with _in_thread(borrowed.__enter__, borrowed.__exit__):
            yield ChunkReader(self, self._piece, self.size)

    async def _piece(self, at: int, most: int) -> bytes:
        return await to_thread.run_sync(self._read, at, most)

    def _borrowed(self) -> _Borrowed:
        return _Borrowed(self._file, self._loan, self.what)

    def _read(self, at: int, most: int) -> bytes:
        with self._loan.lock, explained(self.what):
            # Reading on is no seek: in a compressed file that would start again from the top.
            if self._file.tell() != self._home + at:
                self._file.seek(self._home + at)
            return bytes(checked(self._file.read(most), self.what))

    def _measured(self) -> int | None:
        end = self._end()
        return None if end is None else max(0, end - self._home)

    def _end(self) -> int | None:
        with self._loan.lock:
            try:
                return self._file.seek(0, os.SEEK_END)
            except Exception:  # noqa: BLE001 - a compressed file does not know its end; reading says more
                return None


class _Borrowed:
    """An open file in use: the first to come notes where it stands, the last puts it there."""

    def __init__(self, file: BinaryIO, loan: _Loan, what: str) -> None:
        self._file = file
        self._loan = loan
        self._what = what

    def __enter__(self) -> None:
        loan = self._loan
        with loan.lock, explained(self._what):
            if not loan.readers:
                loan.home = self._file.tell()
            loan.readers += 1

    def __exit__(self, *_: object) -> None:
        loan = self._loan
        # Its bytes were read; where it stands is of less weight than an error in their place.
        with loan.lock, suppress(Exception):
            loan.readers -= 1
            if not loan.readers:
                self._file.seek(loan.home)


class OneShotSource(Source):
    """What can be read a single time: an iterator, or a file that cannot go back."""

    def __init__(self, pieces: AsyncIterable[object], what: str, name: str | None = None) -> None:
        super().__init__(what)
        self.name = name
        with explained(what):
            self._pieces: AsyncIterator[object] = aiter(pieces)
        self._head: deque[bytes] = deque()
        self._begun = False

    @property
    def replayable(self) -> bool:
        """Whether nothing has asked for its bytes yet."""
        return not self._begun

    async def start(self, most: int) -> FileHead:
        """Read the first pieces, and keep them."""
        size = 0
        while size <= max(most, 0):
            piece = await self._next()
            if not piece:
                self.size: int | None = size
                break
            self._head.append(piece)
            size += len(piece)
        return FileHead(b"".join(self._head), whole=size <= most)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Reading]:
        """Give what was read, and then the rest."""
        try:
            yield ChunkReader(self, self._piece, self.size)
        finally:
            if self._begun:
                await self.aclose()

    async def aclose(self) -> None:
        """Close the generator: left half read, it would be closed by a task of its own."""
        pieces: object = self._pieces
        if isinstance(pieces, AsyncGenerator):
            # It may be running still, and being cancelled; and its own cleanup may fail.
            with suppress(Exception):
                await cast("AsyncGenerator[object]", pieces).aclose()

    async def _piece(self, _at: int, _most: int) -> bytes:
        self._begun = True
        return self._head.popleft() if self._head else await self._next()

    async def _next(self) -> bytes:
        """Return the next piece that is not empty; nothing at the end."""
        with explained(self.what):
            return await self._next_piece()

    async def _next_piece(self) -> bytes:
        async for piece in self._pieces:
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise InvalidArgumentError(
                    f"{self.what} yielded a {type(piece).__name__}; it must yield bytes."
                )
            if content := bytes(cast("bytes | bytearray | memoryview", piece)):
                return content
        return b""
