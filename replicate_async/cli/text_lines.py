"""Lines of a table in UTF-8, UTF-16 or UTF-32, of a file or of standard input."""

from __future__ import annotations

import asyncio
import codecs
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PIECE: Final = 1 << 20
_AT_ONCE: Final = 1 << 16
_LONGEST_MARK: Final = 4
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(head: bytes) -> str:
    """Return the encoding of a table by its first four bytes: its mark, or UTF-8 without one."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if head[:1] == b"\0" and len(head) > 1:  # a table begins with a plain character
        return "utf-16-be"
    return "utf-16-le" if head[1:2] == b"\0" else "utf-8"


def encoding_of_file(path: Path) -> str:
    """Return the encoding of the table at *path*."""
    with path.open("rb") as file:
        return encoding_of(file.read(_LONGEST_MARK))


class LineSplitter:
    """Makes lines in UTF-8 of the bytes of a table, in pieces of any size."""

    def __init__(self) -> None:
        self._head = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._started = False
        self._open: list[bytes] = []

    def feed(self, data: bytes, *, final: bool = False) -> list[bytes]:
        """Return the lines that *data* ends, without their line ends."""
        *lines, rest = self._as_utf8(data, final=final).split(b"\n")
        if lines:
            lines[0] = b"".join([*self._open, lines[0]])
            self._open.clear()
        self._open.append(rest)
        if final and (last := b"".join(self._open)):
            lines.append(last)
        return lines

    def _as_utf8(self, data: bytes, *, final: bool) -> bytes:
        if not self._started:
            self._head += data
            if len(self._head) < _LONGEST_MARK and not final:
                return b""
            data, self._head, self._started = self._head, b"", True
            encoding = encoding_of(data)
            if encoding == "utf-8-sig":
                data = data[len(codecs.BOM_UTF8) :]
            elif encoding != "utf-8":
                self._decoder = codecs.getincrementaldecoder(encoding)()
        if self._decoder is None:
            return data
        return self._decoder.decode(data, final).encode("utf-8", "surrogatepass")


def lines_of_file(path: Path) -> Iterator[bytes]:
    """Yield the lines of the file at *path* in UTF-8; raises `UnicodeError`."""
    splitter = LineSplitter()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield from splitter.feed(piece)
    yield from splitter.feed(b"", final=True)


async def lines_of_stdin() -> AsyncIterator[bytes]:
    """Yield the lines of standard input in UTF-8 as they come; raises `UnicodeError`.

    They are read in a thread, and no further than they are asked for.
    """
    splitter = LineSplitter()
    while piece := await _read(0):
        for line in splitter.feed(piece):
            yield line
    for line in splitter.feed(b"", final=True):
        yield line


async def _read(descriptor: int) -> bytes:
    """Return what comes next from a file that may be a pipe or a terminal; empty at its end.

    The thread is a daemon, and `sys.stdin` is left alone: neither holds up the end of the program
    while a read blocks.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def settle(data: bytes, error: OSError | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(data)
        else:
            future.set_exception(error)

    def read() -> None:
        data, error = b"", None
        try:
            data = os.read(descriptor, _AT_ONCE)
        except OSError as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, data, error)

    threading.Thread(target=read, name="read-stdin", daemon=True).start()
    return await future
