"""An input from ``key=value`` arguments, by the model's schema."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Final, Literal, cast

import msgspec

from replicate_async.cli.console import columns, terminal_width
from replicate_async.cli.errors import UsageError, is_utf8, one_line
from replicate_async.files.inputs import encode_input
from replicate_async.interface.input_check import InputCheck
from replicate_async.interface.read import (
    InputField,
    Interface,
    Schema,
    alternatives,
    listed,
    mapping,
    resolve,
)
from replicate_async.interface.refusal import Refusal, takes, unknown_input

# 1.0 where a tool made floats of a column with gaps.
_YES: Final = {"true", "yes", "on", "1", "1.0"}
_NO: Final = {"false", "no", "off", "0", "0.0"}
_INTEGERS_END: Final = 2**63
_LONGEST_INTEGER: Final = 20
"""Digits of the largest number that an integer may be."""
_SHAPE: Final = 'inputs are given as key=value, key=@file or key:=JSON, such as prompt="Once upon"'


@dataclass(frozen=True)
class Pair:
    """The parts of ``key=value`` or ``key:=JSON``."""

    key: str
    value: str
    form: Literal["text", "file", "json"]

    @classmethod
    def parse(cls, argument: str) -> Pair:
        """Split *argument*; raises `UsageError` if it is neither."""
        key, equals, value = argument.partition("=")
        is_file = value.startswith("@") and len(value) > 1 and not key.endswith(":")
        if not is_utf8(key if is_file else argument):  # the name of a file may have any bytes
            raise UsageError(f"{argument!a} is not UTF-8; send it as key=@file.")
        if not equals or not key.strip(":"):
            raise UsageError(f"{argument!r} is not an input: {_SHAPE}.")
        if key.endswith(":"):
            return cls(key[:-1], value, "json")
        if is_file:
            return cls(key, value[1:], "file")
        return cls(key, value, "text")


def read_inputs(arguments: Sequence[str], interface: Interface) -> dict[str, object]:
    """Return the input of ``key=value`` arguments, coerced by the model's schema.

    A file is its `Path`, which the client sends. A key that is given several times makes a list
    where the model takes one. Raises `UsageError`, with the list of inputs, for unknown keys and
    texts that are not of the type.
    """
    given: dict[str, list[Pair]] = {}
    for argument in arguments:
        pair = Pair.parse(argument)
        given.setdefault(pair.key, []).append(pair)
    return {key: _read(key, pairs, interface) for key, pairs in given.items()}


def read_value(key: str, text: str, interface: Interface) -> object:
    """Return *text*, such as a cell of a table, as the input *key*; raises `UsageError`."""
    return _read(key, [Pair(key, text, "text")], interface)


def fit_value(key: str, value: object, interface: Interface) -> object:
    """Return a typed *value* as the input *key* takes it.

    A whole number that a tool wrote as 1.0 becomes an integer where the model takes one.
    """
    known = (interface.inputs or {}).get(key)
    return value if known is None else _fit(value, known.schema, known.components)


def _fit(value: object, schema: Schema, components: Schema) -> object:
    kind = schema.get("type")
    if kind == "array" and isinstance(value, list):
        items = resolve(mapping(schema.get("items")), components)
        return [_fit(item, items, components) for item in cast("list[object]", value)]
    if kind == "integer" and isinstance(value, float | Decimal):
        with suppress(ValueError):
            return _integer(str(value))
    return value


def refusal_of(values: Mapping[str, object], check: InputCheck) -> Refusal | None:
    """Return what the model refuses in *values*; it ignores names that it does not have."""
    return check.refusal(encode_input(values), unknown=False)


def _read(key: str, pairs: Sequence[Pair], interface: Interface) -> object:
    known = _known(key, interface)
    try:
        if known is None:
            values = [_typed(pair, {}, {}) for pair in pairs]
            return values[0] if len(values) == 1 else values
        if known.schema.get("type") == "array":
            return _array(pairs, known)
        return _typed(_only(pairs), known.schema, known.components)
    except ValueError as error:
        raise input_error(f"{key} {error}.", interface) from None


def _only(pairs: Sequence[Pair]) -> Pair:
    if len(pairs) > 1:
        raise ValueError("is given more than once, and takes one value")
    return pairs[0]


def _known(key: str, interface: Interface) -> InputField | None:
    if interface.inputs is None:
        return None
    found = interface.inputs.get(key)
    if found is None:
        raise input_error(unknown_input(key, interface.inputs), interface)
    return found


def _array(pairs: Sequence[Pair], known: InputField) -> object:
    first = pairs[0]
    if len(pairs) == 1 and (first.form == "json" or first.value.lstrip().startswith("[")):
        value = _json(first.value)
        if not isinstance(value, list):
            raise ValueError(f"takes {takes(known.schema, known.components)}, not {shown(value)}")
        return cast("list[object]", value)
    items = resolve(mapping(known.schema.get("items")), known.components)
    return [_typed(pair, items, known.components) for pair in pairs]


def _typed(pair: Pair, schema: Schema, components: Schema) -> object:
    if pair.form == "json":
        return _json(pair.value)
    if pair.form == "text":
        return coerce(pair.value, schema, components)
    if schema.get("type") == "string" and schema.get("format") != "uri":
        return coerce(_text_of(pair.value), schema, components)
    return _existing(pair.value)


def coerce(text: str, schema: Schema, components: Schema) -> object:
    """Return *text* as a value of a resolved *schema*; raises `ValueError` with what it takes.

    A text that is not one of the choices stays: the check of the whole input names the nearest.
    """
    parts = alternatives(schema, components) or [schema]
    if len(parts) == 1 and (choices := listed(parts[0].get("enum"))):
        if (found := _choice(text, choices)) is not None:
            return found
        return text if any(isinstance(choice, str) for choice in choices) else _loose(text)
    # Every text is a string, so the type string is tried last.
    for part in sorted(parts, key=lambda part: part.get("type") == "string"):
        if choices := listed(part.get("enum")):
            if (found := _choice(text, choices)) is not None:
                return found
            continue
        with suppress(ValueError):
            return _READERS.get(str(part.get("type")), _loose)(text)
    raise ValueError(f"takes {takes(schema, components)}, not {shown(text)!r}")


def _choice(text: str, choices: Sequence[object]) -> object:
    """Return the choice that *text* says, None if there is none."""
    for choice in choices:
        if text == (choice if isinstance(choice, str) else shown(choice)):
            return choice
    numbers = {choice: choice for choice in choices if isinstance(choice, int)}
    with suppress(ValueError):
        return numbers.get(_integer(text))
    return None


def _integer(text: str) -> int:
    """Return a whole number, also one that a tool wrote as 1.0."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("not a number") from None
    if not number.is_finite() or number.adjusted() > _LONGEST_INTEGER or number % 1:
        raise ValueError("not a whole number")
    return _checked_range(int(number))


def _checked_range(number: int) -> int:
    if not -_INTEGERS_END <= number < 2 * _INTEGERS_END:
        raise ValueError("more than JSON readers can hold")
    return number


def _number(text: str) -> float:
    try:
        return _checked_range(int(text))
    except ValueError:
        number = float(text)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in _YES | _NO:
        raise ValueError("neither true nor false")
    return word in _YES


def _json(text: str, kind: type = object) -> object:
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError(f"is not JSON: {shown(text)}") from None
    if not isinstance(value, kind):
        raise ValueError("JSON of another type")  # noqa: TRY004 - one kind of error for all readers
    return value


def _loose(text: str) -> object:
    """Return *text* decoded if it is JSON, such as 3 or [1, 2], else unchanged."""
    try:
        return _json(text)
    except ValueError:
        return text


_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "object": partial(_json, kind=dict),
    "array": partial(_json, kind=list),
    "string": str,
}


def _existing(name: str) -> Path:
    path = os.path.expanduser(name)  # noqa: PTH111 - as below
    if not os.path.isfile(path):  # noqa: PTH113 - a Path raises for a name that is too long
        kind = "a folder" if os.path.isdir(path) else "a file that is not there"  # noqa: PTH112 - as above
        raise ValueError(f"names {kind}: {shown(name)}")
    return Path(path)


def _text_of(name: str) -> str:
    try:
        return _existing(name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"takes text, and {shown(name)} is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"cannot be read from {shown(name)}: {error.strerror}") from None


def listing(interface: Interface, width: int = 0) -> str:
    """Return the inputs of a model as lines of text, no longer than *width* unless that is 0."""
    if interface.inputs is None:
        return ""
    if not interface.inputs:
        return f"{interface.ref} takes no inputs."
    rows = [
        (field.name, field.type, _default(field), one_line(field.description))
        for field in interface.inputs.values()
    ]
    return "\n".join([f"Inputs of {interface.ref}:", *columns(rows, width)])


def input_error(message: str, interface: Interface) -> UsageError:
    """Return the error for a wrong input, with the list of the model's inputs."""
    return UsageError(message, listing(interface, terminal_width(sys.stderr)))


def shown(value: object) -> str:
    """Return *value* as it is typed, at most 40 characters of it."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = one_line(text)
    return f"{text[:37]}..." if len(text) > 40 else text or '""'


def _default(field: InputField) -> str:
    if field.required:
        return "required"
    value = field.schema.get("default")
    return "" if value is None else shown(value)
