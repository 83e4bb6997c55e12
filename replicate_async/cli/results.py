"""The file of a batch's results: a row for each, as they come."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import msgspec

from replicate_async import BatchResult
from replicate_async.cli.failure import UsageError
from replicate_async.runs.batch.frames import as_text

COLUMNS: Final = (
    "key",
    "index",
    "status",
    "output",
    "error",
    "prediction_id",
    "files",
    "attempts",
    "predict_seconds",
    "input",
)
_FORMATS: Final = (".jsonl", ".ndjson", ".csv")


class ResultFile:
    """A file at *path* that is written beside its place, and put there at the end.

    So what an earlier run left is there until this one has as much. Raises `UsageError` for a
    name that says no format.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in _FORMATS:
            raise UsageError(
                f"{path} ends in none of {', '.join(_FORMATS)}; 'replicate-async batch export' "
                "makes others of the journal."
            )
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._file: IO[str] | None = None
        self._table: Any = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        if self._path.suffix.lower() == ".csv":
            self._table = csv.writer(self._file)
            self._table.writerow(COLUMNS)
        return self

    def write(self, result: BatchResult[Any]) -> None:
        """Write the row of *result*, through to the file."""
        assert self._file is not None  # noqa: S101 - it is entered
        row = row_of(result)
        if self._table is not None:
            self._table.writerow([as_text(row[name]) for name in COLUMNS])
        else:
            self._file.write(f"{msgspec.json.encode(row, enc_hook=str).decode()}\n")
        self._file.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            os.replace(self._part, self._path)  # noqa: PTH105 - says what it does


def row_of(result: BatchResult[Any]) -> Mapping[str, object]:
    """Return *result* as a row, by column."""
    prediction = result.prediction
    return {
        "key": result.key,
        "index": result.index,
        "status": "uncreated" if prediction is None else prediction.status,
        "output": result.output,
        "error": None if result.error is None else str(result.error),
        "prediction_id": None if prediction is None else prediction.id,
        "files": [str(path) for path in result.files],
        "attempts": result.attempts,
        "predict_seconds": result.predict_seconds,
        "input": result.input,
    }
