"""Data frames of polars, pandas and pyarrow: a batch takes them, and its results go back into one.

    results = [result async for result in client.batch("owner/name", frame)]
    frame = with_results(frame, results)
    table = to_frame(results, polars.DataFrame)

Needs the extra: ``pip install 'replicate-async[dataframe]'`` (narwhals).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec

from replicate_async.errors import InvalidArgumentError
from replicate_async.files.values import fields_of
from replicate_async.resources._dataframe import eager, rows
from replicate_async.runs.batch.cells import as_text, row_of
from replicate_async.runs.batch.json_tree import map_leaves
from replicate_async.runs.batch.results import BatchResult

__all__ = ["rows", "to_frame", "with_results"]

FrameT = TypeVar("FrameT")

_FRAMES: Final = {("polars", "DataFrame"), ("pandas", "DataFrame"), ("pyarrow", "Table")}
_TIMES: Final = ("created_at", "started_at", "completed_at")
_COLUMNS: Final = (
    *("key", "index", "ok", "status", "output", "error", "prediction_id", "files", "attempts"),
    *("predict_seconds", *_TIMES),
)
_KINDS: Final = {
    "index": "Int64",
    "ok": "Boolean",
    "attempts": "Int64",
    "predict_seconds": "Float64",
    **dict.fromkeys(_TIMES, "Datetime"),
}
_INTEGERS: Final = range(-(2**63), 2**63)


class Outcome(Protocol):
    """The result of a row; a `BatchResult` is one."""

    @property
    def index(self) -> int:
        """The row, from 0."""
        ...

    @property
    def output(self) -> Any:
        """What the model gave, None if nothing."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why there is no output."""
        ...


def with_results(
    frame: FrameT, results: Iterable[Outcome], *, output: str = "output", error: str = "error"
) -> FrameT:
    """Return *frame* with the columns *output* and *error* of text, for each row its result.

    An output that is no text is JSON, a list of strings too, unless the model's schema says that it
    is one text in chunks (``result.is_text``): give ``client.batch`` ``type=str`` to have the text
    of a model whose schema was not looked up. Rows without a result have neither.

    Args:
        frame: The data frame that the batch ran over; a lazy one comes back collected.
        results: The results of the batch, in any order.
        output: The name of the column with the outputs.
        error: The name of the column with the errors.

    Raises:
        InvalidArgumentError: *frame* has such a column already.
    """
    import narwhals as nw  # noqa: PLC0415 - an extra

    table = eager(frame)
    taken = [name for name in (output, error) if name in table.columns]
    if taken:
        raise InvalidArgumentError(
            f"The data frame has a column {taken[0]!r} already; name the new ones with output= "
            "and error=."
        )
    outputs: list[str | None] = [None] * len(table)
    errors: list[str | None] = [None] * len(table)
    for result in results:
        if result.error is None:
            joined: bool = getattr(result, "is_text", False)
            outputs[result.index] = as_text(result.output, joined=joined)
        else:
            errors[result.index] = str(result.error) or type(result.error).__name__
    native = table.with_columns(
        *(
            nw.new_series(name, values, dtype=nw.String, backend=table.implementation)
            for name, values in ((output, outputs), (error, errors))
        )
    ).to_native()
    return cast("FrameT", native)


def to_frame(results: Iterable[BatchResult[Any]], into: type[FrameT]) -> FrameT:
    """Return the results of a batch as a flat table, a row for each in their order.

    The columns are ``key``, ``index``, ``ok``, ``status``, ``output``, ``error``,
    ``prediction_id``, ``files``, ``attempts`` and ``predict_seconds``, as in the file that
    ``replicate-async batch --output`` writes, then ``created_at``, ``started_at`` and
    ``completed_at``, and a column ``input.name`` or ``output.name`` for each field of the inputs,
    and of outputs that are objects. A column of numbers or of booleans has that type; another value
    that is no text is JSON, and bytes are shown by their number.

    Args:
        results: The results, such as those of a list.
        into: The class of the table: ``polars.DataFrame``, ``pandas.DataFrame`` or
            ``pyarrow.Table``.

    Raises:
        InvalidArgumentError: *into* is another class.
    """
    import narwhals as nw  # noqa: PLC0415 - an extra

    package: Any = into.__module__.partition(".")[0]
    if (package, into.__name__) not in _FRAMES:
        raise InvalidArgumentError(
            f"into= is {into!r}: give polars.DataFrame, pandas.DataFrame or pyarrow.Table."
        )
    flat = [_flat(result) for result in results]
    fields = dict.fromkeys(name for row in flat for name in row if name not in _COLUMNS)
    series = {
        name: _series(name, [row.get(name) for row in flat], package)
        for name in (*_COLUMNS, *sorted(fields, key=lambda name: name.partition(".")[0]))
    }
    return cast("FrameT", nw.from_dict(series).to_native())


def _flat(result: BatchResult[Any]) -> dict[str, object]:
    row = row_of(result)
    given = row.pop("input")
    row["ok"] = result.ok
    row["output"] = as_text(row["output"], joined=result.is_text)
    row["files"] = row["files"] or None
    for name in _TIMES if result.prediction is not None else ():
        row[name] = getattr(result.prediction, name)
    for prefix, value in (("input", given), ("output", result.output)):
        row |= {f"{prefix}.{name}": field for name, field in _fields(value).items()}
    return row


def _fields(value: object) -> Mapping[str, object]:
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        return cast("Mapping[str, object]", value)
    return fields_of(value) or {}


def _series(name: str, values: list[object], package: Any) -> Any:
    import narwhals as nw  # noqa: PLC0415 - an extra

    kind: Any = _KINDS.get(name) or _kind_of(values)
    if kind == "String":
        values = [as_text(map_leaves(value, _sized)) for value in values]
    elif package == "pandas" and kind in {"Int64", "Boolean"} and None in values:
        kind = None  # pandas has its own types for columns with gaps
    if kind is not None:
        kind = nw.Datetime("us", "UTC") if kind == "Datetime" else getattr(nw, kind)
    return nw.new_series(name, values, dtype=kind, backend=package)


def _kind_of(values: list[object]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "Boolean"
    if kinds == {int} and all(value is None or value in _INTEGERS for value in values):
        return "Int64"
    return "Float64" if kinds in ({float}, {int, float}) else "String"


def _sized(value: object) -> object:
    return f"{len(value):,} bytes" if isinstance(value, bytes | bytearray) else value
