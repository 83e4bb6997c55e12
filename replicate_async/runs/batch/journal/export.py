"""A journal as a table: JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Literal, cast

import msgspec

from replicate_async.errors import InvalidArgumentError
from replicate_async.runs.batch.cells import as_text
from replicate_async.runs.batch.journal.entry import Entry, State
from replicate_async.runs.batch.journal.reader import read
from replicate_async.runs.batch.result_codec import NULL, StoredResult, read_stored

Format = Literal["jsonl", "csv", "parquet"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a batch, as it is exported: a line of JSON, or a row.

    ``status`` is the prediction's, None until it has ended; ``state`` is how far the batch came
    with it; ``value`` is what ``finish`` returned. In CSV and Parquet, an output, error or value
    that is not a string is JSON; a list that is one text in chunks by the model's schema is that
    text.
    """

    key: str
    index: int
    state: State
    status: str | None
    output: msgspec.Raw
    error: msgspec.Raw
    value: msgspec.Raw
    prediction_id: str | None
    files: list[str]
    attempts: int
    predict_seconds: float | None
    created_at: str | None
    started_at: str | None
    completed_at: str | None


COLUMNS: Final = Record.__struct_fields__
_PLAIN: Final = msgspec.json.Encoder().encode


def export(
    journal: str | os.PathLike[str],
    out: str | os.PathLike[str] | IO[bytes],
    format: Format = "jsonl",
    *,
    state: State | None = None,
) -> int:
    """Write the inputs of a *journal* to *out* in index order, and return how many they are.

    *out* is a path, which gets the whole table or is left as it was, or a file that is open for
    bytes. The batch may be running; with *state* there are only the inputs of that state.

    Blocks. "parquet" needs pyarrow: ``pip install 'replicate-async[dataframe]' pyarrow``. Raises
    `InvalidArgumentError` without it, for another format, when there is no journal, and when *out*
    is the journal, and `JournalError` when it cannot be read.
    """
    write = _WRITERS.get(format)
    if write is None:
        known = ", ".join(_WRITERS)
        raise InvalidArgumentError(f"format {format!r} is none of {known}: use one of them.")
    if isinstance(out, str | os.PathLike) and os.path.realpath(out) == os.path.realpath(journal):
        raise InvalidArgumentError(f"the table would replace the journal {out}: give another path.")
    written = 0

    def pages() -> Iterator[list[Record]]:
        nonlocal written
        for entries in read(journal, state):
            yield [_record(entry, as_cells=format != "jsonl") for entry in entries]
            written += len(entries)

    with _target(out) as file:
        write(file, pages())
    return written


def _record(entry: Entry, *, as_cells: bool) -> Record:
    result = StoredResult() if entry.result is None else read_stored(entry.result)
    output = result.output
    if as_cells and result.batch.is_text:
        output = msgspec.Raw(_PLAIN(as_text(msgspec.json.decode(output), joined=True)))
    return Record(
        key=entry.key,
        index=entry.index,
        state=entry.state,
        status=result.status,
        output=output,
        error=result.error,
        value=NULL if entry.value is None else msgspec.Raw(entry.value),
        prediction_id=entry.prediction_id,
        files=result.batch.files,
        attempts=entry.attempt,
        predict_seconds=result.predict_seconds,
        created_at=result.created_at,
        started_at=result.started_at,
        completed_at=result.completed_at,
    )


def _write_jsonl(file: IO[bytes], pages: Iterator[list[Record]]) -> None:
    for records in pages:
        for record in records:
            file.write(_PLAIN(record) + b"\n")


def _write_csv(file: IO[bytes], pages: Iterator[list[Record]]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        rows = csv.writer(text)
        rows.writerow(COLUMNS)
        for records in pages:
            rows.writerows(map(_cells, records))
    finally:
        text.detach()  # the caller closes the file


def _write_parquet(file: IO[bytes], pages: Iterator[list[Record]]) -> None:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InvalidArgumentError(
            "Parquet is written with pyarrow, which is not installed: "
            "pip install 'replicate-async[dataframe]' pyarrow, or use jsonl or csv."
        ) from None
    types = {
        "index": arrow.int64(),
        "attempts": arrow.int64(),
        "predict_seconds": arrow.float64(),
    }
    schema = arrow.schema([(name, types.get(name, arrow.string())) for name in COLUMNS])
    with parquet.ParquetWriter(file, schema) as writer:
        for records in pages:
            rows = [dict(zip(COLUMNS, _cells(record), strict=True)) for record in records]
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))


_WRITERS: Final[dict[str, Callable[[IO[bytes], Iterator[list[Record]]], None]]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}


def _cells(record: Record) -> list[object]:
    return [_cell(value) for value in msgspec.structs.astuple(record)]


def _cell(value: object) -> object:
    if isinstance(value, msgspec.Raw):
        return as_text(msgspec.json.decode(value))
    return as_text(cast("list[object]", value) or None) if isinstance(value, list) else value


@contextmanager
def _target(out: str | os.PathLike[str] | IO[bytes]) -> Generator[IO[bytes]]:
    if not isinstance(out, str | os.PathLike):
        yield out
        return
    path = Path(out)
    # Not "name.part": a batch of the command line that is running may write that.
    part = path.with_name(f".{path.name}.{os.urandom(6).hex()}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
