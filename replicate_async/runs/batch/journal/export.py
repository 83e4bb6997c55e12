"""A journal as a table: JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

import msgspec

from replicate_async.errors import InvalidArgumentError
from replicate_async.runs.batch.journal.entry import Entry, State
from replicate_async.runs.batch.journal.reader import read

Format = Literal["jsonl", "csv", "parquet"]

_NOTHING: Final = msgspec.Raw(b"null")


class _Metrics(msgspec.Struct, frozen=True, kw_only=True):
    predict_time: float | None = None


class _More(msgspec.Struct, frozen=True, kw_only=True):
    files: list[str] = []
    is_text: bool = False


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    status: str | None = None
    output: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    metrics: _Metrics | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    batch: _More = _More()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a batch, as it is exported: a line of JSON, or a row.

    ``status`` is the prediction's, None until it has ended; ``state`` is how far the batch came
    with it. In CSV and Parquet, an output or error that is not a string is JSON; a list that is one
    text in chunks by the model's schema is that text.
    """

    key: str
    index: int
    state: State
    status: str | None
    output: msgspec.Raw
    error: msgspec.Raw
    prediction_id: str | None
    files: list[str]
    attempts: int
    predict_seconds: float | None
    created_at: str | None
    started_at: str | None
    completed_at: str | None


COLUMNS: Final = Record.__struct_fields__
_PLAIN: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Result).decode


class _Table(Protocol):
    """Something that rows are written into."""

    def write(self, records: list[Record]) -> None: ...

    def close(self) -> None: ...


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
    `InvalidArgumentError` without it, for another format, and when there is no journal, and
    `JournalError` when it cannot be read.
    """
    make = _FORMATS.get(format)
    if make is None:
        known = ", ".join(_FORMATS)
        raise InvalidArgumentError(f"format {format!r} is none of {known}: use one of them.")
    written = 0
    with _target(out) as file, closing(make(file)) as table:
        for entries in read(journal, state):
            table.write([_record(entry, as_text=format != "jsonl") for entry in entries])
            written += len(entries)
    return written


def _record(entry: Entry, *, as_text: bool) -> Record:
    try:
        result = _Result() if entry.result is None else _decode(entry.result)
    except msgspec.DecodeError:  # of another maker, yet all that there is
        result = _Result(output=msgspec.Raw(_PLAIN((entry.result or b"").decode(errors="replace"))))
    return Record(
        key=entry.key,
        index=entry.index,
        state=entry.state,
        status=result.status,
        output=_joined(result.output) if as_text and result.batch.is_text else result.output,
        error=result.error,
        prediction_id=entry.prediction_id,
        files=result.batch.files,
        attempts=entry.attempt,
        predict_seconds=None if result.metrics is None else result.metrics.predict_time,
        created_at=result.created_at,
        started_at=result.started_at,
        completed_at=result.completed_at,
    )


def _joined(output: msgspec.Raw) -> msgspec.Raw:
    try:
        return msgspec.Raw(_PLAIN("".join(msgspec.json.decode(output, type=list[str]))))
    except msgspec.ValidationError:  # no list, such as the null of a run that failed
        return output


class _Lines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, records: list[Record]) -> None:
        for record in records:
            self._file.write(_PLAIN(record) + b"\n")

    def close(self) -> None:
        pass


class _Csv:
    def __init__(self, file: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._rows = csv.writer(self._text)
        self._rows.writerow(COLUMNS)

    def write(self, records: list[Record]) -> None:
        self._rows.writerows(_cells(record) for record in records)

    def close(self) -> None:
        self._text.detach()  # the file is not ours to close


class _Parquet:
    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise InvalidArgumentError(
                "Parquet is written with pyarrow, which is not installed: "
                "pip install 'replicate-async[dataframe]' pyarrow, or use jsonl or csv."
            ) from None
        arrow = self._arrow
        kinds = {
            "index": arrow.int64(),
            "attempts": arrow.int64(),
            "predict_seconds": arrow.float64(),
        }
        fields = [(name, kinds.get(name, arrow.string())) for name in COLUMNS]
        self._schema = arrow.schema(fields)
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, records: list[Record]) -> None:
        columns = zip(*(_cells(record) for record in records), strict=True)
        named = {name: list(cells) for name, cells in zip(COLUMNS, columns, strict=False)}
        if named:
            self._writer.write_table(self._arrow.table(named, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


_FORMATS: Final[dict[str, Callable[[IO[bytes]], _Table]]] = {
    "jsonl": _Lines,
    "csv": _Csv,
    "parquet": _Parquet,
}


def _cells(record: Record) -> tuple[object, ...]:
    return tuple(
        _text(value) if isinstance(value, msgspec.Raw | list) else value
        for value in _values(record)
    )


def _values(record: Record) -> tuple[str | float | list[str] | msgspec.Raw | None, ...]:
    return msgspec.structs.astuple(record)


def _text(value: msgspec.Raw | list[str]) -> str | None:
    if isinstance(value, list):
        return _PLAIN(value).decode() if value else None
    plain = msgspec.json.decode(value)
    return plain if plain is None or isinstance(plain, str) else bytes(value).decode()


@contextmanager
def _target(out: str | os.PathLike[str] | IO[bytes]) -> Generator[IO[bytes]]:
    if not isinstance(out, str | os.PathLike):
        yield out
        return
    path = Path(out)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
