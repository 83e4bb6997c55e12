"""The file of a batch's results: a row for each, as they arrive."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import IO, Any, Final, Self

import msgspec

from replicate_async import BatchResult
from replicate_async.cli.errors import UsageError
from replicate_async.runs.batch.cells import COLUMNS, as_text, row_of

_FORMATS: Final = (".jsonl", ".ndjson", ".csv")


class ResultFile:
    """A file at *path*, which is written as *part* beside it and renamed when it is complete.

    The results of an earlier run stay until then. Nothing is written before the first row. Raises
    `UsageError` for another format, and for a folder.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in _FORMATS:
            raise UsageError(
                f"{path} ends in none of {', '.join(_FORMATS)}; 'replicate-async batch export' "
                "writes others from the journal."
            )
        if path.is_dir():
            raise UsageError(f"{path} is a folder; give a file for the results.")
        self.path = path
        self.part: Path = part_of(path)
        if self.part.is_dir():
            raise UsageError(f"{self.part} is a folder; results are written there: move it away.")
        self.rows: int = 0
        """The number of rows written."""
        self.whole: bool = False
        """Whether it is complete, at *path*."""
        self._file: IO[str] | None = None
        self._table: Any = None

    def write(self, result: BatchResult[Any], *, joined: bool = False) -> None:
        """Write and flush the row of *result*.

        With *joined*, a list of strings is one text in CSV.
        """
        file = self._file or self._open()
        row = row_of(result)
        if self._table is not None:
            output = as_text(row["output"], joined=joined or result.is_text)
            cells = {**row, "output": output, "files": row["files"] or None}
            self._table.writerow([as_text(cells[name]) for name in COLUMNS])
        else:
            file.write(f"{msgspec.json.encode(row, enc_hook=str).decode()}\n")
        file.flush()
        self.rows += 1

    def _open(self) -> IO[str]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = file = self.part.open(
            "w", encoding="utf-8", errors="backslashreplace", newline=""
        )
        if self.path.suffix.lower() == ".csv":
            self._table = csv.writer(file)
            self._table.writerow(COLUMNS)
        return file

    def finish(self) -> None:
        """Complete it: no more rows follow."""
        (self._file or self._open()).close()
        os.replace(self.part, self.path)  # noqa: PTH105 - says what it does
        self.whole = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def part_of(path: Path) -> Path:
    """Return where the results for *path* are until they are complete."""
    return path.with_name(f"{path.name}.part")
