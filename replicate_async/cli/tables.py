"""The rows of a table: JSON lines, CSV or Parquet, in UTF-8, UTF-16 or UTF-32."""

from __future__ import annotations

import asyncio
import codecs
import csv
import json
import os
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import msgspec

from replicate_async.cli.errors import UsageError

Row: TypeAlias = dict[str, object]
Placed: TypeAlias = tuple[str, Row]
"""A row, and where it is: "line 3"."""

_FORMATS: Final = (".jsonl", ".ndjson", ".csv", ".parquet")
_LARGEST_CELL: Final = 2**31 - 1
"""Characters; Python's own limit of 131,072 is less than tools write."""
_DELIMITERS: Final = (",", "\t", ";")
_QUOTED: Final = re.compile(r'"[^"]*"?')
_PIECE: Final = 1 << 16
_HEAD: Final = 4
"""Bytes that the encoding is known by: of a mark, or of an ASCII character and zeros."""
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Rows:
    """The rows of the file at *path*; "-" is standard input.

    Raises `UsageError` for a file that cannot be read, naming the line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_stdin: Final = str(path) == "-"
        """Whether they come from standard input: once, and with `arriving` only."""
        kind = ".jsonl" if self.is_stdin else path.suffix.lower()
        if str(path).startswith("-") and not self.is_stdin:
            raise UsageError(f"--input takes a file, or - for standard input, not {path}.")
        if kind not in _FORMATS:
            raise UsageError(
                f"{path} ends in none of {', '.join(_FORMATS)}; its ending is its format."
            )
        if not self.is_stdin and not path.is_file():
            raise UsageError(f"{path} is not a file.")
        self.typed: Final = kind != ".csv"
        """Whether values have types of their own; in CSV all are text."""
        self.header: Sequence[str] | None = None
        """The columns of a CSV file, after its first row is read."""
        readers = {".csv": self._csv, ".parquet": self._parquet}
        self.placed: Final[Callable[[], Iterator[Placed]]] = readers.get(kind, self._json_lines)
        """Yields each row with its place in the file."""

    def __iter__(self) -> Iterator[Row]:
        return (row for _, row in self.placed())

    async def arriving(self) -> AsyncIterator[Placed]:
        """Yield the rows of standard input as they arrive, each with its place."""
        number = 0
        with self._decoding(lambda: number):
            async for line in lines_of_stdin():
                number += 1
                if line.strip():
                    yield f"line {number}", self._decoded(line, number)

    def where(self, place: str, column: str | None = None) -> str:
        """Return the name of a place in the file, as errors begin with it."""
        name = "standard input" if self.is_stdin else str(self._path)
        return f"{name}, {place}" + ("" if column is None else f", column {column!r}")

    def _json_lines(self) -> Iterator[Placed]:
        number = 0
        with (
            self._decoding(lambda: number),
            self._path.open(encoding=_encoding_of(self._path), newline="\n") as file,
        ):
            for line in file:
                number += 1
                if line.strip():
                    yield f"line {number}", self._decoded(line, number)

    def _decoded(self, line: str, number: int) -> Row:
        try:
            return _decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise UsageError(
                f"{self.where(f'line {number}')}: {error}; each line is one JSON object."
            ) from None

    def _csv(self) -> Iterator[Placed]:
        csv.field_size_limit(_LARGEST_CELL)
        with self._path.open(encoding=_encoding_of(self._path), newline="") as file:
            with self._decoding(lambda: 0):
                delimiter = _delimiter(file.readline())
            file.seek(0)
            # Strict: else an open quote makes one cell of all rows after it.
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header: list[str] | None = None
            place = "line 1"
            try:
                with self._decoding(lambda: reader.line_num):
                    for cells in reader:
                        if header is None:
                            header = self.header = cells or None
                            self._refuse_twice([name for name in cells if name], place)
                        elif any(cells[len(header) :]):
                            raise UsageError(
                                f"{self.where(place)}: more cells than the header has."
                            )
                        elif any(cells):  # spreadsheets end with rows of empty cells
                            # An empty cell is an input that was left out.
                            filled = zip(header, cells, strict=False)
                            yield place, {name: cell for name, cell in filled if cell}
                        place = f"line {reader.line_num + 1}"
            except csv.Error as error:
                raise UsageError(f"{self.where(place)}: {error}.") from None

    def _refuse_twice(self, names: Sequence[str], place: str) -> None:
        for name, count in Counter(names).items():
            if count > 1:
                raise UsageError(
                    f"{self.where(place)}: {count} columns are called {name!r}; rename one of them."
                )

    @contextmanager
    def _decoding(self, lines_read: Callable[[], int]) -> Generator[None]:
        """Name the line that is not text; *lines_read* counts those before the piece it is in."""
        try:
            yield
        except UnicodeDecodeError as error:
            line = lines_read() + error.object[: error.start].count(b"\n") + 1
            raise UsageError(
                f"{self.where(f'line {line}')}: it is not text in UTF-8 or UTF-16; save the table "
                "as UTF-8."
            ) from None

    def _parquet(self) -> Iterator[Placed]:
        with self._parquet_file() as file:
            self._refuse_twice(file.schema_arrow.names, "schema")
            number = 0
            for batch in file.iter_batches(batch_size=1000):
                for row in cast("list[Row]", batch.to_pylist()):
                    number += 1
                    yield f"row {number}", row

    def _parquet_file(self) -> Any:
        try:
            parquet: Any = import_module("pyarrow.parquet")  # it has no types
        except ImportError:
            raise UsageError("Parquet needs pyarrow: pip install pyarrow.") from None
        try:
            return parquet.ParquetFile(self._path)
        except ValueError as error:
            raise UsageError(f"{self._path}: {error}") from None


def _delimiter(header: str) -> str:
    """Return the separator of the cells, which depends on the language of a spreadsheet."""
    unquoted = _QUOTED.sub("", header)
    return next((each for each in _DELIMITERS if each in unquoted), ",")


def _encoding_of(path: Path) -> str:
    with path.open("rb") as file:
        return json.detect_encoding(file.read(_HEAD))


class LineSplitter:
    """Splits the bytes of a table, in pieces of any size, into lines of text."""

    def __init__(self) -> None:
        self._head = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._open: list[str] = []

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        """Return the lines that end in *data*, without their line ends."""
        if self._decoder is None:
            data = self._head = self._head + data
            if len(data) < _HEAD and not final:
                return []
            self._decoder = codecs.getincrementaldecoder(json.detect_encoding(data))()
        *lines, rest = self._decoder.decode(data, final).split("\n")
        if lines:
            lines[0] = "".join([*self._open, lines[0]])
            self._open.clear()
        self._open.append(rest)
        if final and (last := "".join(self._open)):
            lines.append(last)
        return lines


async def lines_of_stdin() -> AsyncIterator[str]:
    """Yield the lines of standard input as they arrive; raises `UnicodeDecodeError`.

    A thread reads them, 64 KiB ahead at most.
    """
    splitter = LineSplitter()
    while piece := await _read_stdin():
        for line in splitter.feed(piece):
            yield line
    for line in splitter.feed(b"", final=True):
        yield line


async def _read_stdin() -> bytes:
    """Return the next piece of a file that may be a pipe or a terminal; empty at its end.

    The thread is a daemon, and `sys.stdin` is left alone: neither delays the end of the program
    while a read blocks.
    """
    future: Future[bytes] = Future()
    future.set_running_or_notify_cancel()  # what waits for it is cancelled, the read is not

    def read() -> None:
        try:
            future.set_result(os.read(0, _PIECE))
        except OSError as error:
            future.set_exception(error)

    threading.Thread(target=read, name="read-stdin", daemon=True).start()
    return await asyncio.wrap_future(future)
