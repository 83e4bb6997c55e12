"""Schemas of annotations, as Cog writes them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import msgspec

from replicate_async.core.secret import Secret
from replicate_async.interface.types import InputFile, InputOptions, OutputFile, Schema

ALLOWED: Final = (
    "str, int, float, bool, Path, InputFile, Secret, Literal[...], an Enum, list[...], dict, Any, "
    "a dataclass, TypedDict or msgspec Struct, and any of these with '| None'"
)


class AnnotationError(TypeError):
    """An annotation that gives no schema, or a missing one."""


SCALARS: Final[Mapping[Any, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
}
FILES: Final = (Path, InputFile, OutputFile)
_SECRET: Final[Schema] = {
    "type": "string",
    "format": "password",
    "writeOnly": True,
    "x-cog-secret": True,
}
_PLAIN: Final[Mapping[object, Schema]] = {
    **{kind: {"type": word} for kind, word in SCALARS.items()},
    **{kind: {"type": "string", "format": "uri"} for kind in FILES},
    Secret: _SECRET,
    Any: {"type": "object"},
    # Cog has no schema for a value of any kind; in JSON Schema it is the empty one.
    object: {},
}
_MAPPINGS: Final = (dict, Mapping)
LISTS: Final = (list, Sequence)


def peel(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return *hint* without `Annotated`, and the annotations in it."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return inner, tuple(notes)
    return hint, ()


def split_optional(hint: Any) -> tuple[Any, bool]:
    """Return *hint* without None, and whether None was in it."""
    if get_origin(hint) is Literal and None in get_args(hint):
        values = tuple(value for value in get_args(hint) if value is not None)
        return Literal[values], True
    if get_origin(hint) not in {Union, types.UnionType}:
        return hint, False
    kept = [part for part in get_args(hint) if part is not types.NoneType]
    union: Any = Union[tuple(kept)]  # noqa: UP007 - made from values
    return union, len(kept) < len(get_args(hint))


def members(hint: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union; none if *hint* is no union."""
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else ()


def is_record(hint: Any) -> bool:
    """Return whether *hint* is a class with named fields."""
    if not isinstance(hint, type) or hint in FILES:
        return False
    kind = cast("type[Any]", hint)
    return issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind) or is_typeddict(kind)


def choices_of(hint: Any) -> list[Any] | None:
    """Return the values of a Literal or an Enum; None for anything else."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [member.value for member in hint]
    return None


def choice_schema(name: str, values: Collection[object], where: str) -> Schema:
    """Return the component for a list of choices, as Cog writes it."""
    for kind, word in SCALARS.items():
        if values and all(type(value) is kind for value in values):
            return {
                "title": name,
                "description": "An enumeration.",
                "enum": list(values),
                "type": word,
            }
    raise AnnotationError(f"{where}: choices must be all strings, all integers or all numbers")


class SchemaBuilder:
    """Makes schemas from annotations, and keeps the components that they refer to."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def add(self, name: str, schema: Schema) -> Schema:
        """Keep *schema* as a component *name*, with underscores if taken; return a reference."""
        taken = name
        while self.components.get(taken, schema) != schema:
            taken += "_"
        self.components[taken] = schema
        return {"$ref": f"#/components/schemas/{taken}"}

    def value(self, hint: Any, *, name: str, where: str) -> Schema:
        """Return the schema of a value with this annotation.

        *name* is the component of a list of choices. Raises `AnnotationError`, whose message starts
        with *where*, for an annotation that is not allowed.
        """
        hint, notes = peel(hint)
        hint, optional = split_optional(hint)
        schema = self._present(hint, name, where)
        for options in notes:
            if isinstance(options, InputOptions):
                schema |= options.constraints()
        return {**schema, "nullable": True} if optional else schema

    def _present(self, hint: Any, name: str, where: str) -> Schema:
        if get_origin(hint) is Annotated:
            return self.value(hint, name=name, where=where)
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
        if (values := choices_of(hint)) is not None:
            return {"allOf": [self.add(name, choice_schema(name, values, where))]}
        if is_record(hint):
            return self.add(hint.__name__, self.record(hint, where=where))
        if alternatives := members(hint):
            self._check_union(alternatives, where)
            return {"anyOf": [self.value(part, name=name, where=where) for part in alternatives]}
        return self._container(hint, name=name, where=where)

    def record(self, hint: type, *, where: str) -> Schema:
        """Return the schema of an object with the fields of the class *hint*."""
        properties: dict[str, Schema] = {}
        required: list[str] = []
        needed = _required_fields(hint)
        names = field_names(hint)
        for name, annotation in get_type_hints(hint, include_extras=True).items():
            if name not in names:
                continue  # a ClassVar
            field = names[name]
            part = self.value(annotation, name=field, where=f"{where}, field {field!r}")
            titled = (
                part if "allOf" in part or "$ref" in part else {"title": title_of(field)} | part
            )
            properties[field] = titled
            if name in needed and not part.get("nullable"):
                required.append(field)
        schema: Schema = {"title": hint.__name__, "type": "object", "properties": properties}
        return {**schema, "required": required} if required else schema

    def _container(self, hint: Any, *, name: str, where: str) -> Schema:
        origin = get_origin(hint) or hint
        arguments = get_args(hint)
        if origin in LISTS:
            item = arguments[0] if arguments else Any
            # Any alone is an object, as in Cog; in a list it is any value, so that numbers pass.
            items = {} if item is Any else self.value(item, name=name, where=where)
            return {"type": "array", "items": items}
        if origin in _MAPPINGS:
            if len(arguments) == 2 and arguments[1] not in {Any, object}:
                extra = self.value(arguments[1], name=name, where=where)
                return {"type": "object", "additionalProperties": extra}
            return {"type": "object"}
        raise AnnotationError(f"{where}: {show(hint)} is not allowed; allowed are {ALLOWED}")

    @staticmethod
    def _check_union(alternatives: tuple[Any, ...], where: str) -> None:
        for part in alternatives:
            if part in FILES or part is Secret or is_record(part) or choices_of(part):
                raise AnnotationError(
                    f"{where}: {show(part)} is not allowed in a union, only with '| None'"
                )


def title_of(name: str) -> str:
    """Return a name as a form shows it: ``num_outputs`` is "Num Outputs"."""
    return name.replace("_", " ").title()


def show(hint: object) -> str:
    """Return an annotation as it would be written."""
    return hint.__qualname__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def field_names(hint: Any) -> dict[str, str]:
    """Return the fields of a class with named fields, and what each is called in JSON."""
    if is_typeddict(hint):
        return {name: name for name in hint.__annotations__}
    if issubclass(hint, msgspec.Struct):
        return {field.name: field.encode_name for field in msgspec.structs.fields(hint)}
    return {field.name: field.name for field in dataclasses.fields(hint)}


def _required_fields(hint: Any) -> frozenset[str]:
    if is_typeddict(hint):
        return frozenset(hint.__required_keys__)
    if issubclass(hint, msgspec.Struct):
        return frozenset(field.name for field in msgspec.structs.fields(hint) if field.required)
    missing = dataclasses.MISSING
    return frozenset(
        field.name
        for field in dataclasses.fields(hint)
        if field.default is missing and field.default_factory is missing
    )
