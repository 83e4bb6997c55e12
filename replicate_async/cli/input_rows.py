"""The rows of a file: JSON lines, CSV or Parquet, read as they are asked for."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import msgspec

from replicate_async.cli.errors import UsageError
from replicate_async.cli.text_lines import (
    encoding_of_file,
    lines_of_file,
    lines_of_stdin,
)

Row: TypeAlias = dict[str, object]
Placed: TypeAlias = tuple[str, Row]
"""A row, and where it is: "line 3"."""

_FORMATS: Final = (".jsonl", ".ndjson", ".csv", ".parquet")
_LARGEST_CELL: Final = 2**31 - 1
"""Characters; Python's own limit of 131,072 is less than tools write."""
_DELIMITERS: Final = (",", "\t", ";")


class Rows:
    """The rows of the file at *path*, as often as they are asked for; "-" is standard input.

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
                f"{path} ends in none of {', '.join(_FORMATS)}; its ending says how to read it."
            )
        if not self.is_stdin and not path.is_file():
            raise UsageError(f"{path} is no file that can be read.")
        self.typed: Final = kind != ".csv"
        """Whether values have types of their own; in CSV all is text."""
        self.header: Sequence[str] | None = None
        """The columns of a CSV file, once its first row is read."""
        self._read: Callable[[], Iterator[Placed]] = {
            ".csv": self._csv,
            ".parquet": self._parquet,
        }.get(kind, self._json_lines)

    def __iter__(self) -> Iterator[Row]:
        return (row for _, row in self._read())

    def placed(self) -> Iterator[Placed]:
        """Yield each row with its place in the file."""
        return self._read()

    async def arriving(self) -> AsyncIterator[Placed]:
        """Yield the rows of standard input as they come, each with its place."""
        number = 0
        with self._unreadable(lambda: number + 1):
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
        with self._unreadable(lambda: number + 1):
            for line in lines_of_file(self._path):
                number += 1
                if line.strip():
                    yield f"line {number}", self._decoded(line, number)

    def _decoded(self, line: bytes, number: int) -> Row:
        try:
            return _decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise UsageError(
                f"{self.where(f'line {number}')}: {error}; each line is one JSON object."
            ) from None

    def _csv(self) -> Iterator[Placed]:
        csv.field_size_limit(_LARGEST_CELL)
        encoding = encoding_of_file(self._path)
        line = 0
        with (
            self._unreadable(lambda: line + 1),
            self._path.open(encoding=encoding, newline="") as file,
        ):
            delimiter = _delimiter(file.readline())
            file.seek(0)
            # Strict: else a quote that is not closed makes one cell of all rows after it.
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header: list[str] | None = None
            for cells in reader:
                place, line = f"line {line + 1}", reader.line_num
                if header is None:
                    header = self.header = self._header(cells, place) if cells else None
                elif any(cells[len(header) :]):
                    raise UsageError(f"{self.where(place)}: more cells than the header has.")
                elif any(cells):  # spreadsheets end with rows of empty cells
                    # An empty cell is an input that was left out.
                    filled = zip(header, cells, strict=False)
                    yield place, {name: cell for name, cell in filled if cell}

    def _header(self, names: list[str], place: str) -> list[str]:
        self._refuse_twice([name for name in names if name], place)
        return names

    def _refuse_twice(self, names: Sequence[str], place: str) -> None:
        for name, count in Counter(names).items():
            if count > 1:
                raise UsageError(
                    f"{self.where(place)}: {count} columns are called {name!r}; rename one of them."
                )

    @contextmanager
    def _unreadable(self, line: Callable[[], int]) -> Generator[None]:
        """Name the line at which the file cannot be read."""
        try:
            yield
        except csv.Error as error:
            raise UsageError(f"{self.where(f'line {line()}')}: {error}.") from None
        except UnicodeError:
            raise UsageError(
                f"{self.where(f'line {self._undecodable(line())}')}: it is no text in UTF-8 or "
                "UTF-16; save the table as UTF-8."
            ) from None

    def _undecodable(self, line: int) -> int:
        """Return the first line that is not UTF-8: the reader decodes some way ahead of *line*."""
        if self.is_stdin or encoding_of_file(self._path) not in {"utf-8", "utf-8-sig"}:
            return line
        with self._path.open("rb") as file:
            for number, content in enumerate(file, 1):
                try:
                    content.decode()
                except UnicodeDecodeError:
                    return number
        return line

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


_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


_QUOTED: Final = re.compile(r'"[^"]*"?')


def _delimiter(header: str) -> str:
    """Return what separates the cells: a spreadsheet's language decides it."""
    unquoted = _QUOTED.sub("", header)
    return next((each for each in _DELIMITERS if each in unquoted), ",")
