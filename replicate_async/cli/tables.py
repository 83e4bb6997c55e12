"""The rows of a file: JSON lines, CSV or Parquet, read as they are asked for."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import msgspec

from replicate_async.cli.failure import UsageError
from replicate_async.cli.schema import Interface
from replicate_async.cli.values import read_value

Row: TypeAlias = dict[str, object]

_PIECE: Final = 1 << 20
_FORMATS: Final = (".jsonl", ".ndjson", ".csv", ".parquet")


class Rows:
    """The rows of the file at *path*, as often as they are asked for; "-" is standard input.

    Raises `UsageError` for a file that cannot be read, naming the line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._standard = str(path) == "-"
        kind = ".jsonl" if self._standard else path.suffix.lower()
        if kind not in _FORMATS:
            raise UsageError(
                f"{path} ends in none of {', '.join(_FORMATS)}; its ending says how to read it."
            )
        if not self._standard and not path.is_file():
            raise UsageError(f"{path} is no file that can be read.")
        self.typed: Final = kind != ".csv"
        """Whether values have types of their own; in CSV all is text."""
        self._read: Callable[[], Iterator[Row]] = {
            ".csv": self._csv,
            ".parquet": self._parquet,
        }.get(kind, self._json_lines)
        self._count: Callable[[], int | None] = {
            ".csv": self._count_csv,
            ".parquet": self._count_parquet,
        }.get(kind, self._count_lines)

    def __iter__(self) -> Iterator[Row]:
        return self._read()

    def count(self) -> int | None:
        """Return how many there are, by a quick look; None for standard input."""
        return self._count()

    def _json_lines(self) -> Iterator[Row]:
        if self._standard:
            yield from self._parsed(sys.stdin.buffer)
            return
        with self._path.open("rb") as file:
            yield from self._parsed(file)

    def _parsed(self, lines: Any) -> Iterator[Row]:
        decoder = msgspec.json.Decoder(dict[str, Any])
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield decoder.decode(line)
                except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                    raise UsageError(
                        f"{self._path}, line {number}: {error}; each line is one JSON object."
                    ) from None

    def _csv(self) -> Iterator[Row]:
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            try:
                for row in reader:
                    if None in row:
                        raise UsageError(
                            f"{self._path}, line {reader.line_num}: more cells than the header has."
                        )
                    # An empty cell is an input that was left out.
                    yield {name: cell for name, cell in row.items() if cell}
            except (csv.Error, UnicodeDecodeError) as error:
                where = f"{self._path}, line {reader.line_num + 1}"
                raise UsageError(f"{where}: {error}.") from None

    def _parquet(self) -> Iterator[Row]:
        with self._parquet_file() as file:
            for batch in file.iter_batches(batch_size=1000):
                yield from cast("list[Row]", batch.to_pylist())

    def _parquet_file(self) -> Any:
        try:
            parquet: Any = import_module("pyarrow.parquet")  # it has no types
        except ImportError:
            raise UsageError("Parquet needs pyarrow: pip install pyarrow.") from None
        try:
            return parquet.ParquetFile(self._path)
        except ValueError as error:
            raise UsageError(f"{self._path}: {error}") from None

    def _count_lines(self) -> int | None:
        if self._standard:
            return None
        count, last = 0, b"\n"
        with self._path.open("rb") as file:
            while piece := file.read(_PIECE):
                count += piece.count(b"\n")
                last = piece
        return count + (not last.endswith(b"\n"))

    def _count_csv(self) -> int | None:
        with self._path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
            try:
                return max(0, sum(1 for row in csv.reader(file) if row) - 1)
            except csv.Error:
                return None

    def _count_parquet(self) -> int | None:
        with self._parquet_file() as file:
            return int(file.metadata.num_rows)


class Inputs:
    """The inputs that *rows* make for a model, and how many.

    *columns* maps the model's inputs to columns; without it every column is an input of its name.
    *fixed* is the same for all. *key* names a column that is kept for the key.
    """

    def __init__(
        self,
        rows: Rows,
        interface: Interface,
        *,
        columns: Mapping[str, str],
        fixed: Mapping[str, object],
        limit: int | None = None,
    ) -> None:
        self._rows = rows
        self._interface = interface
        self._columns = columns
        self._fixed = fixed
        self._limit = limit
        count = rows.count()
        self._length = count if limit is None or count is None else min(count, limit)

    def sized(self) -> Inputs | SizedInputs:
        """Return these with a length, if that is known."""
        return self if self._length is None else SizedInputs(self, self._length)

    def __iter__(self) -> Iterator[Row]:
        for number, row in enumerate(self._rows, 1):
            if self._limit is not None and number > self._limit:
                return
            yield {**self._fixed, **self._mapped(row, number)}

    def _mapped(self, row: Row, number: int) -> Row:
        if not self._columns:
            named = row
        else:
            lacking = [column for column in self._columns.values() if column not in row]
            if lacking and self._rows.typed and all(column not in row for column in lacking):
                known = ", ".join(row) or "none"
                raise UsageError(
                    f"row {number} has no column {lacking[0]!r} for --map; its columns: {known}."
                )
            named = {name: row[column] for name, column in self._columns.items() if column in row}
        if self._rows.typed:
            return named
        return {name: self._typed(name, cast("str", cell)) for name, cell in named.items()}

    def _typed(self, name: str, cell: str) -> object:
        return read_value(name, cell, self._interface)


class SizedInputs:
    """Inputs whose number is known, which is what an estimate of the end needs."""

    def __init__(self, inputs: Inputs, length: int) -> None:
        self._inputs = inputs
        self._length = length

    def __iter__(self) -> Iterator[Row]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return self._length


def read_map(pairs: Sequence[str]) -> dict[str, str]:
    """Return ``input=column`` pairs as a mapping; raises `UsageError`."""
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not (name and equals and column):
            raise UsageError(f"--map {pair!r} is not input=column, such as prompt=text.")
        columns[name] = column
    return columns
