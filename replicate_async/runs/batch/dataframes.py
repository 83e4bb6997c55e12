"""Data frames as the inputs of a batch, and its results as one: polars, pandas, pyarrow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import msgspec

from replicate_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    import narwhals as nw

FrameT = TypeVar("FrameT")

# What narwhals can read row by row; asking it would import it for every batch of plain inputs.
_PACKAGES: Final = frozenset({"polars", "pandas", "pyarrow", "modin", "cudf"})
_FRAMES: Final = frozenset({"DataFrame", "LazyFrame", "Table"})
_ROWS_AT_A_TIME: Final = 512
_WHOLE: Final = 2**53  # up to here a float says a whole number exactly


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


class _Array(Protocol):
    """An array or a number of NumPy's."""

    def tolist(self) -> object: ...


def is_dataframe(value: object) -> bool:
    """Tell whether *value* is a data frame, without importing anything."""
    kind = type(value)
    return kind.__name__ in _FRAMES and kind.__module__.partition(".")[0] in _PACKAGES


def rows(frame: object) -> Iterator[dict[str, object]]:
    """Yield the rows of *frame* as inputs, by column; missing values are None, so left out.

    A cell that is a list or an array is a list, however many items it has. A lazy frame is
    collected. Raises `InvalidArgumentError` for other objects, and for two columns of one name.
    """
    import narwhals as nw  # noqa: PLC0415 - an extra

    eager = _eager(frame)
    repair: Callable[[object], object] | None = None
    if eager.implementation.is_pandas_like():
        repair = _pandas_value
    elif any(kind == nw.Object for kind in eager.schema.values()):
        repair = _plain
    for row in eager.iter_rows(named=True, buffer_size=_ROWS_AT_A_TIME):
        if repair is None:
            yield row
        else:
            yield {name: repair(value) for name, value in row.items()}


def length(frame: object) -> int:
    """Return how many rows *frame* has."""
    return len(_eager(frame))


def with_results(
    frame: FrameT, results: Iterable[Outcome], *, output: str = "output", error: str = "error"
) -> FrameT:
    """Return *frame* with the columns *output* and *error* of text, for each row its result.

    An output that is no text is JSON, a list of strings too, unless the model's schema says that it
    is one text in chunks (``result.is_text``): give ``client.batch`` ``type=str`` to have the text
    of a model whose schema was not looked up. A lazy frame comes back collected. Rows without a
    result have neither. Raises `InvalidArgumentError` when there are such columns already.
    """
    import narwhals as nw  # noqa: PLC0415 - an extra

    eager = _eager(frame)
    taken = [name for name in (output, error) if name in eager.columns]
    if taken:
        raise InvalidArgumentError(
            f"The data frame has a column {taken[0]!r} already; name the new ones with output= "
            "and error=."
        )
    outputs: list[str | None] = [None] * len(eager)
    errors: list[str | None] = [None] * len(eager)
    for result in results:
        if result.error is None:
            joined: bool = getattr(result, "is_text", False)
            outputs[result.index] = as_text(result.output, joined=joined)
        else:
            errors[result.index] = str(result.error) or type(result.error).__name__
    native = eager.with_columns(
        *(
            nw.new_series(name, values, dtype=nw.String, backend=eager.implementation)
            for name, values in ((output, outputs), (error, errors))
        )
    ).to_native()
    return cast("FrameT", native)


def as_text(value: object, *, joined: bool = False) -> str | None:
    """Return an output as the text of one cell; None stays None.

    A list of strings is JSON as all else that is no text, unless it is to be *joined*.
    """
    if value is None or isinstance(value, str):
        return value
    if joined and (chunks := _chunks(value)) is not None:
        return "".join(chunks)
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError):
        return str(value)


def _chunks(value: object) -> list[str] | None:
    if not isinstance(value, list):
        return None
    parts = cast("list[object]", value)
    texts = [part for part in parts if isinstance(part, str)]
    return texts if len(texts) == len(parts) else None


def _eager(frame: object) -> nw.DataFrame[Any]:
    try:
        import narwhals as nw  # noqa: PLC0415 - an extra
    except ImportError:
        raise InvalidArgumentError(
            "Data frames need narwhals: pip install 'replicate-async[dataframe]'."
        ) from None
    try:
        found = nw.from_native(cast("Any", frame))
    except TypeError:
        raise InvalidArgumentError(
            f"A {type(frame).__name__} is no data frame of polars, pandas or pyarrow."
        ) from None
    except nw.exceptions.DuplicateError:
        raise InvalidArgumentError(
            f"The data frame has more than one column {_twice(frame)!r}; rename one of them."
        ) from None
    return found.collect() if isinstance(found, nw.LazyFrame) else found


def _twice(frame: object) -> object:
    """Return the first name that two columns of *frame* have; pyarrow and pandas allow that."""
    names: Any = getattr(frame, "column_names", None) or getattr(frame, "columns", ())
    counts = Counter(cast("Iterable[object]", names))
    return next((name for name, count in counts.items() if count > 1), None)


def _pandas_value(value: object) -> object:
    """Return a pandas value with None for NaN, which pandas uses for missing values.

    A column of whole numbers with a gap holds floats, which a model that takes whole numbers
    refuses; as JSON a whole number does for both.
    """
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) <= _WHOLE
        return None if math.isnan(value) else int(value) if whole else value
    return _plain(value)


def _plain(value: object) -> object:
    """Return *value* with lists in place of arrays, and numbers in place of NumPy's."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        value = cast("_Array", value).tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {name: _plain(item) for name, item in items}
    return value
