"""Converting values of other types to JSON values.

Classes of other packages are recognized by name or by a method, so that nothing is imported.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections import UserString
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, Final, NoReturn, Protocol, TypeAlias, cast
from uuid import UUID

import msgspec

from replicate_async.core.endpoint import exact

_LONGEST_INTEGER: Final = 300
"""Digits of a `Decimal` that is sent as an integer."""
_LONGEST_REASON: Final = 200
_FILES: Final = "give a file as bytes, a Path, an open file or an async iterator of bytes"
_MISSING: Final = "; write None, or leave it out."


class DataclassInstance(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class AttrsInstance(Protocol):
    """An instance of a class of attrs."""

    __attrs_attrs__: ClassVar[Any]


class PydanticModel(Protocol):
    """An instance of a pydantic model."""

    def model_dump(self) -> dict[str, Any]:
        """Return the fields by name."""
        ...


Record: TypeAlias = (
    Mapping[str, object] | msgspec.Struct | DataclassInstance | AttrsInstance | PydanticModel
)
"""An input: a mapping, or an instance of a class with fields."""


class UnsendableError(Exception):
    """A value cannot be sent as JSON; *problem* follows its place in the message."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def scalar(value: object) -> object:
    """Return an instance of a subclass of str, int or float as exactly that type."""
    if isinstance(value, Enum):
        return scalar(cast("object", value.value))
    for kind in (str, int, float):
        if isinstance(value, kind):
            # A proxy passes isinstance without being of the class.
            own = kind in type(value).__mro__
            return exact(value) if own else kind(cast("Any", value))
    return value


def has_fields(value: object) -> bool:
    """Return whether *value* is a dataclass, an attrs class or a pydantic model."""
    return _reader_of(value) is not None


def fields_of(value: object) -> Mapping[str, object] | None:
    """Return the fields of a dataclass, an attrs class or a pydantic model, else None."""
    read = _reader_of(value)
    return None if read is None else read(value)


def _reader_of(value: object) -> Callable[[Any], Mapping[str, object]] | None:
    kind: Any = type(value)
    if isinstance(value, type):
        return None
    if callable(getattr(kind, "model_dump", None)):
        # By alias, as structs are encoded by their encoded names.
        return lambda model: _with_files(model.model_dump(by_alias=True), model)
    if hasattr(kind, "__fields__") and callable(getattr(kind, "dict", None)):  # of pydantic 1
        return lambda model: model.dict(by_alias=True)
    if hasattr(kind, "__dataclass_fields__"):
        return lambda found: _set_fields(found, dataclasses.fields(found))
    if hasattr(kind, "__attrs_attrs__"):
        return lambda found: _set_fields(found, kind.__attrs_attrs__)
    return None


def _with_files(dumped: Any, original: Any) -> Any:
    """Return *dumped*, the dump of *original*, with the original files in it.

    Pydantic dumps an iterable, such as an open file, as an iterator.
    """
    kind: Any = original.__class__
    if getattr(kind, "__pydantic_root_model__", False):
        original = original.root
    if type(dumped).__name__ == "SerializationIterator":
        return original
    if isinstance(dumped, dict):
        members = _members(original)
        return {
            key: _with_files(item, members[key]) if key in members else item
            for key, item in cast("dict[object, object]", dumped).items()
        }
    if isinstance(dumped, list | tuple) and isinstance(original, list | tuple):
        parts, originals = cast("Sequence[Any]", dumped), cast("Sequence[Any]", original)
        if len(originals) == len(parts):
            return list(map(_with_files, parts, originals))
    return cast("object", dumped)


def _members(original: Any) -> dict[Any, Any]:
    """Return the values of a mapping or a pydantic model, by the names in its dump."""
    if isinstance(original, Mapping):
        return dict(cast("Mapping[Any, Any]", original))  # type: ignore[redundant-cast] # for pyright
    kind: Any = original.__class__
    members: dict[Any, Any] = dict(getattr(original, "model_extra", None) or {})
    for name, field in getattr(kind, "model_fields", {}).items():
        members[field.serialization_alias or field.alias or name] = getattr(original, name, None)
    return members


def _set_fields(value: object, fields: Iterable[Any]) -> dict[str, object]:
    items = ((field.name, getattr(value, field.name, msgspec.UNSET)) for field in fields)
    return {name: item for name, item in items if item is not msgspec.UNSET}


def converted(value: object) -> object:
    """Return *value* one step closer to JSON; the result may need another conversion.

    Raises `UnsendableError`, which says what to write instead.
    """
    for kind in type(value).__mro__:
        convert = _BY_NAME.get(f"{kind.__module__.partition('.')[0]}.{kind.__name__}")
        if convert is not None:
            return convert(value)
    for classes, convert in _BY_CLASS:
        if isinstance(value, classes):
            return convert(value)
    for name in _METHODS:
        if callable(getattr(type(value), name, None)):
            return getattr(value, name)()
    raise _refused(
        value,
        f"a value of type {type(value).__name__} cannot be sent as JSON; convert it to plain "
        f"values, or {_FILES}.",
    )


def _refused(value: object, problem: str) -> UnsendableError:
    name = type(value).__name__
    if isinstance(value, Awaitable):
        problem = f"a {name} was not awaited; write 'await' before it."
    elif isinstance(value, Iterator):
        problem = f"a {name} can be read only once; write list(...) around it, or {_FILES}."
    return UnsendableError(f": {problem}")


def _decimal(value: Decimal) -> object:
    if not value.is_finite():
        raise UnsendableError(f" is {value}, which JSON cannot hold.")
    if cast("int", value.as_tuple().exponent) < 0:
        return float(value)
    if value.adjusted() > _LONGEST_INTEGER:
        raise UnsendableError(f" is {value}, which is too large to be sent as a number.")
    return int(value)


def _fraction(value: numbers.Rational) -> object:
    return value.numerator if value.denominator == 1 else float(value)


def _iso_format(value: Any) -> object:
    if value != value:  # noqa: PLR0124 - pandas' NaT is a datetime
        return _missing(value)
    text: str = value.isoformat()
    return f"{text.removesuffix('+00:00')}Z" if text.endswith("+00:00") else text


def _numpy_array(value: Any) -> object:
    if value.dtype.kind not in "mM":
        return value.tolist()
    # tolist() would give nanoseconds as integers.
    return list(value) if value.ndim else value[()]


def _numpy_time(value: Any) -> object:
    return _missing(value) if value != value else str(value)  # noqa: PLR0124 - NaT


def _missing(value: object) -> NoReturn:
    raise UnsendableError(f" is a missing value ({value!s}){_MISSING}")


def _write(problem: str) -> Callable[[object], NoReturn]:
    """Return a conversion that refuses a value, with advice."""

    def refuse(value: object) -> NoReturn:
        raise UnsendableError(f" is a {type(value).__name__}; {problem}")

    return refuse


_DURATION: Final = _write("write its total_seconds(), or what the model takes.")
_SECRET: Final = _write("write its get_secret_value().")
_FRAME: Final = _write("write its columns or rows as plain lists.")

# By the top-level package and the name of a class or one of its base classes.
_BY_NAME: Final[Mapping[str, Callable[[Any], object]]] = {
    "numpy.ndarray": _numpy_array,
    "numpy.datetime64": _numpy_time,
    "numpy.timedelta64": _DURATION,
    "pandas.NAType": _missing,
    "pandas.NaTType": _missing,
    "pandas.Period": _write("write str() of it."),
    "pandas.Interval": _write("write its bounds."),
    "pandas.DataFrame": _FRAME,
    "polars.DataFrame": _FRAME,
    "polars.LazyFrame": _FRAME,
    "pyarrow.Table": _FRAME,
    "pydantic.SecretStr": _SECRET,
    "pydantic.SecretBytes": _SECRET,
    "pydantic._BaseUrl": str,
    "pydantic._BaseMultiHostUrl": str,
    "pydantic_core.Url": str,
    "pydantic_core.MultiHostUrl": str,
    "yarl.URL": str,
    "httpx.URL": str,
    "starlette.URL": str,
}
_BY_CLASS: Final[tuple[tuple[type, Callable[[Any], object]], ...]] = (
    (Decimal, _decimal),
    (timedelta, _DURATION),
    (date, _iso_format),
    (time, _iso_format),
    (UUID, str),
    (UserString, str),
    (msgspec.Raw, msgspec.json.decode),
    (numbers.Integral, int),
    (numbers.Rational, _fraction),
    (numbers.Real, float),
)
_METHODS: Final = ("tolist", "to_list", "to_pylist", "as_py")
"""Methods that return plain values: NumPy, PyTorch, pandas and array; Polars; PyArrow (two)."""


def reason_of(error: BaseException) -> str:
    """Return the type and the message of *error* in one line, cut if it is long."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a broken __str__ of the caller's own exception
        text = ""
    text = text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
