"""Structs of a model's inputs and outputs, made when the program runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from replicate_async.interface.hints import (
    TOP,
    Field,
    Hint,
    HintBuilder,
    Role,
    description_of,
    make_struct,
    optional,
)
from replicate_async.interface.layout import flat
from replicate_async.interface.names import is_encodable, is_text, python_names
from replicate_async.interface.read import Interface, Schema, mapping, required_names, resolve
from replicate_async.interface.validation import check, in_order

INPUT: Final = "Input"
TRAINING_INPUT: Final = "TrainingInput"

_OBJECT: Final = frozenset({"type", "title", "description", "properties", "required"})


def components_of(document: Mapping[str, Any] | None) -> Schema:
    """Return the schemas of *document*, a version's ``openapi_schema``, by name."""
    return mapping(mapping(mapping(document).get("components")).get("schemas"))


def input_struct(interface: Interface) -> type[msgspec.Struct]:
    """Return a struct of the inputs, in the order of a form.

    Fields are keyword-only. An optional input has its default, or None, which is not sent. The
    struct is empty for a model without a schema.
    """
    return _input_struct(INPUT, interface.components)


def training_struct(document: Mapping[str, Any] | None) -> type[msgspec.Struct] | None:
    """Return a struct of the inputs of a training; None for a version that trains nothing."""
    components = components_of(document)
    return _input_struct(TRAINING_INPUT, components) if TRAINING_INPUT in components else None


def output_type(interface: Interface, document: Mapping[str, Any] | None = None) -> Any:
    """Return the type of the output; `typing.Any` where the schema does not say it.

    *document* is read in place of the schemas of *interface*.
    """
    components = components_of(document) if document is not None else interface.components
    return output_hint(HintBuilder(components, "output")).type


def quick_struct(interface: Interface) -> type[msgspec.Struct] | None:
    """Return a struct that accepts only encoded inputs that the schema accepts.

    It refuses some of those, too: its refusal decides nothing. None where msgspec cannot check a
    keyword of the schema.
    """
    components = interface.components
    if interface.inputs is None:
        return None
    schema = resolve(mapping(components.get(INPUT)), components)
    fields = input_fields(components, INPUT, "wire")
    unchecked = any(not word.startswith("x-") for word in schema.keys() - _OBJECT)
    unnamed = not required_names(schema) <= {field.key for field in fields}
    other = schema.get("type", "object") != "object"
    if unchecked or unnamed or other or not all(field.hint.exact for field in fields):
        return None
    return make_struct(INPUT, fields, strict=True)


def output_hint(builder: HintBuilder) -> Hint:
    """Return the type of the output with an expression for it; *builder* gets its structs."""
    output = mapping(builder.components.get("Output"))
    return builder.hint(output, TOP)


def input_fields(components: Schema, component: str, role: Role = "input") -> list[Field]:
    """Return the fields of a struct of *component*, in the order of a form."""
    schema = resolve(mapping(components.get(component)), components)
    required = required_names(schema)
    properties = [
        (key, part)
        for key, part in _ordered(mapping(schema.get("properties")), components)
        if is_encodable(key)
    ]
    names = python_names(key for key, _ in properties)
    builder = HintBuilder(components, role)
    return [
        _field(name, key, part, builder, required=key in required)
        for name, (key, part) in zip(names, properties, strict=True)
    ]


def _ordered(properties: Schema, components: Schema) -> list[tuple[str, Schema]]:
    resolved = {key: resolve(mapping(part), components) for key, part in properties.items()}
    return [(key, mapping(properties[key])) for key, _ in in_order(resolved)]


def _input_struct(component: str, components: Schema) -> type[msgspec.Struct]:
    fields = input_fields(components, component)
    return make_struct(component, fields, omit_defaults=True)


def _field(name: str, key: str, part: Schema, builder: HintBuilder, *, required: bool) -> Field:
    hint = builder.hint(part, key)
    words = description_of(part)
    if required or builder.role == "wire":
        return Field(name, key, hint, required, None, words)
    given = resolve(part, builder.components).get("default")
    default = _fitted(given, part, hint, builder.components)
    if default is not None:
        return Field(name, key, hint, False, default, words)
    if given is not None and _is_plain(given):
        note = f"Default: {msgspec.json.encode(given).decode()}"
        words = f"{words}\n\n{note}" if words else note
    return Field(name, key, optional(hint), False, None, words)


def _fitted(default: object, part: Schema, hint: Hint, components: Schema) -> object:
    """Return *default* as a value of the type of *hint*; None where it can be none."""
    if default is None or flat(hint.code) in {"FileInput", "Secret"} or not _is_plain(default):
        return None
    if hint.type is Any and isinstance(default, list | dict):
        return None  # a type checker does not know its type
    try:
        refused = check(default, part, components)
    except (OverflowError, UnicodeEncodeError):
        return None  # a choice that JSON cannot hold
    if refused:
        return None
    for value in (default, _with_integers(default)):
        try:
            msgspec.convert(value, hint.type)
        except (msgspec.ValidationError, TypeError):
            continue
        return value
    return None


def _is_plain(value: object, depth: int = 16) -> bool:
    """Return whether JSON and Python can write *value*."""
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(item, depth - 1) for item in cast("list[object]", value))
    if isinstance(value, dict):
        parts = cast("dict[str, object]", value).items()
        return depth > 0 and all(_is_plain(k) and _is_plain(v, depth - 1) for k, v in parts)
    return value is None


def _with_integers(value: object) -> object:
    """Return *value* with an integer for each number without a fraction."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_integers(item) for item in cast("list[object]", value)]
    return value
