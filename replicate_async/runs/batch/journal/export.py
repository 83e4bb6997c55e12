"""A journal as a table: JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec

from replicate_async.errors import InvalidArgumentError
from replicate_async.runs.batch.cells import as_text
from replicate_async.runs.batch.journal.entry import Entry
from replicate_async.runs.batch.journal.reader import read
from replicate_async.runs.batch.result_codec import NULL, StoredResult, read_stored

Format = Literal["jsonl", "csv", "parquet"]

COLUMNS: Final[tuple[str, ...]] = (
    "key", "index", "state", "status", "output", "error", "value", "prediction_id", "files",
    "attempts", "predict_seconds", "created_at", "started_at", "completed_at",
)  # fmt: skip
_TYPES: Final = {"index": "int64", "attempts": "int64", "predict_seconds": "float64"}
"""The types in Parquet of columns that are no text."""

Row = dict[str, Any]
_encode: Final = msgspec.json.Encoder().encode


def export(journal: Path, out: Path, format: Format = "jsonl") -> int:
    """Write the inputs of a *journal* to *out* in index order, and return how many they are.

    ``status`` is the prediction's, None until it has ended; ``state`` is how far the batch came
    with it; ``value`` is what ``finish`` returned. In CSV and Parquet, an output, error or value
    that is not a string is JSON; a list that is one text in chunks by the model's schema is that
    text.

    The batch may be running. *out* gets the whole table, or is left as it was.

    Blocks. "parquet" needs pyarrow: ``pip install 'replicate-async[dataframe]' pyarrow``. Raises
    `InvalidArgumentError` without it, when there is no journal, and when *out* is the journal, and
    `JournalError` when it cannot be read.
    """
    if os.path.realpath(out) == os.path.realpath(journal):
        raise InvalidArgumentError(f"the table would replace the journal {out}: give another path.")
    written = 0

    def pages() -> Iterator[list[Row]]:
        nonlocal written
        for entries in read(journal):
            yield [_row(entry, as_cells=format != "jsonl") for entry in entries]
            written += len(entries)

    # Not "name.part": a batch of the command line that is running may write that.
    part = out.with_name(f".{out.name}.{os.urandom(6).hex()}.part")
    try:
        with part.open("xb") as file:
            _WRITERS[format](file, pages())
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return written


def _row(entry: Entry, *, as_cells: bool) -> Row:
    """Return the row of an input, with the stored JSON as it is, or as texts and numbers."""
    result = StoredResult() if entry.result is None else read_stored(entry.result)
    row: Row = {
        "key": entry.key,
        "index": entry.index,
        "state": entry.state,
        "status": result.status,
        "output": result.output,
        "error": result.error,
        "value": NULL if entry.value is None else msgspec.Raw(entry.value),
        "prediction_id": entry.prediction_id,
        "files": result.batch.files,
        "attempts": entry.attempt,
        "predict_seconds": result.predict_seconds,
        "created_at": result.created_at,
        "started_at": result.started_at,
        "completed_at": result.completed_at,
    }
    if as_cells:
        for name in ("output", "error", "value"):
            joined = name == "output" and result.batch.is_text
            row[name] = as_text(msgspec.json.decode(row[name]), joined=joined)
        row["files"] = as_text(row["files"] or None)
    return row


def _write_jsonl(file: IO[bytes], pages: Iterator[list[Row]]) -> None:
    for page in pages:
        file.writelines(_encode(row) + b"\n" for row in page)


def _write_csv(file: IO[bytes], pages: Iterator[list[Row]]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    table: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    for page in pages:
        table.writerows(page)
    text.detach()  # which writes the rest, and leaves the file open


def _write_parquet(file: IO[bytes], pages: Iterator[list[Row]]) -> None:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InvalidArgumentError(
            "Parquet is written with pyarrow, which is not installed: "
            "pip install 'replicate-async[dataframe]' pyarrow, or use jsonl or csv."
        ) from None
    types = [getattr(arrow, _TYPES.get(name, "string"))() for name in COLUMNS]
    schema = arrow.schema(list(zip(COLUMNS, types, strict=True)))
    with parquet.ParquetWriter(file, schema) as writer:
        for page in pages:
            writer.write_table(arrow.Table.from_pylist(page, schema=schema))


_WRITERS: Final[dict[str, Callable[[IO[bytes], Iterator[list[Row]]], None]]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
