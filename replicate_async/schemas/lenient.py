"""Lenient decoding of an answer that does not match its documentation.

One odd field must not cost an answer that was paid for, nor a page of a listing. NaN, lone
surrogates, control characters and bytes that are not UTF-8 are read, although JSON forbids them. A
field of another type is converted, or gets its default. Only required fields must fit.
"""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NoReturn, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

T = TypeVar("T")

_MALFORMED: Final = "JSON is malformed"


def decode_leniently(body: bytes, type: type[T]) -> T:
    """Decode the JSON *body* as a *type*; several times slower than ``msgspec.json.decode``.

    Args:
        body: The body of an answer.
        type: The struct, or another type that msgspec decodes.

    Raises:
        msgspec.DecodeError: *body* is not JSON.
        msgspec.ValidationError: A required field does not fit.
    """
    try:
        value = json.loads(body.decode("utf-8-sig", errors="replace"), strict=False)
    except ValueError as error:
        problem = f"{_MALFORMED}: {error}"
    else:
        return cast("T", _fit(without_surrogates(value), type, exact=True))
    raise msgspec.DecodeError(problem)


def without_surrogates(value: T) -> T:
    """Return a JSON *value* with U+FFFD for each lone surrogate, which encoders refuse.

    Args:
        value: A string, number, list or mapping, as a JSON decoder returns it.
    """
    return cast("T", _without_surrogates(value))


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(each) for each in cast("list[object]", value)]
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {_without_surrogates(name): _without_surrogates(each) for name, each in items}
    return value


def _fit(value: object, type: Any, *, exact: bool) -> Any:
    """Return *value* as a *type*, part by part; raises `msgspec.ValidationError`.

    With *exact*, only optional fields of structs are converted to other types.
    """
    try:
        return msgspec.convert(value, type, strict=exact)
    except msgspec.ValidationError as error:
        problem = error
    for option in _options(type):
        if option is msgspec.Raw:
            return msgspec.Raw(msgspec.json.encode(value))
        origin = get_origin(option) or option
        if isinstance(origin, _StructMeta) and isinstance(value, dict):
            return _fit_struct(cast("dict[str, object]", value), option)
        if origin is list:
            (item,) = get_args(option)
            if isinstance(value, list):
                return [_fit(each, item, exact=exact) for each in cast("list[object]", value)]
            if item is str and isinstance(value, str) and not exact:
                return [value]
        if option is str and value is not None and not exact:
            return _as_text(value)
    raise problem


_StructMeta: Final = type(Struct)


def _options(type: Any) -> list[Any]:
    """Return the types that a value of *type* may have, without None and without annotations."""
    origin = get_origin(type)
    if origin is Annotated:
        return _options(get_args(type)[0])
    if origin in (Union, UnionType):
        return [option for each in get_args(type) for option in _options(each)]
    return [] if type is NoneType else [type]


def _fit_struct(value: dict[str, object], type: Any) -> Any:
    fitted: dict[str, Any] = {}
    for field in msgspec.structs.fields(type):
        required = field.default is NODEFAULT and field.default_factory is NODEFAULT
        if field.encode_name not in value:
            if required:
                _lacks(field.encode_name)
            continue
        try:
            fitted[field.name] = _fit(value[field.encode_name], field.type, exact=required)
        except msgspec.ValidationError:
            if required:
                raise
    struct = get_origin(type) or type
    return struct(**fitted)


def _lacks(name: str) -> NoReturn:
    raise msgspec.ValidationError(f"Object missing required field `{name}`")


def _as_text(value: object) -> str:
    """Return *value* as text: a list as lines, other values as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        lines = [_as_text(each) for each in cast("list[object]", value)]
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    return msgspec.json.encode(value).decode()
