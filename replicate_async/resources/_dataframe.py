"""The rows of a data frame as the inputs of a batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from replicate_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    import narwhals as nw

# What narwhals can read row by row; asking it would import it for every batch of plain inputs.
_PACKAGES: Final = frozenset({"polars", "pandas", "pyarrow", "modin", "cudf"})
_FRAMES: Final = frozenset({"DataFrame", "LazyFrame", "Table"})
_ROWS_AT_A_TIME: Final = 512
_WHOLE: Final = 2**53  # up to here a float says a whole number exactly


class _Array(Protocol):
    """An array or a number of NumPy's."""

    def tolist(self) -> object: ...


class Rows:
    """The rows of a data frame, with their number."""

    def __init__(self, frame: object) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return len(eager(self._frame))

    def __iter__(self) -> Iterator[dict[str, object]]:
        return rows(self._frame)


def is_dataframe(value: object) -> bool:
    """Tell whether *value* is a data frame, without importing anything."""
    kind = type(value)
    return kind.__name__ in _FRAMES and kind.__module__.partition(".")[0] in _PACKAGES


def rows(frame: object) -> Iterator[dict[str, object]]:
    """Yield the rows of a data frame as inputs, by column; missing values are None, so left out.

    A cell that is a list or an array is a list, however many items it has.

    Args:
        frame: A data frame of polars, pandas or pyarrow; a lazy one is collected.

    Raises:
        InvalidArgumentError: It is no data frame, or two columns have one name.
    """
    import narwhals as nw  # noqa: PLC0415 - an extra

    table = eager(frame)
    repair: Callable[[object], object] | None = None
    if table.implementation.is_pandas_like():
        repair = _pandas_value
    elif any(kind == nw.Object for kind in table.schema.values()):
        repair = _plain
    for row in table.iter_rows(named=True, buffer_size=_ROWS_AT_A_TIME):
        if repair is None:
            yield row
        else:
            yield {name: repair(value) for name, value in row.items()}


def eager(frame: object) -> nw.DataFrame[Any]:
    """Return *frame* as a data frame of narwhals; a lazy one is collected."""
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
