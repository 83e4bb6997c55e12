"""Schemas of annotations, as Cog writes them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from replicate_async.interface.cog_types import as_options, cog_name, is_opaque
from replicate_async.interface.types import InputFile, InputOptions, OutputFile, Schema
from replicate_async.interface.validation import check

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
_FILES: Final = (InputFile, OutputFile, Path)
_FILE: Final[Schema] = {"type": "string", "format": "uri"}
_SECRET: Final[Schema] = {
    "type": "string",
    "format": "password",
    "writeOnly": True,
    "x-cog-secret": True,
}
_PLAIN: Final[Mapping[object, Schema]] = {
    **{kind: {"type": word} for kind, word in SCALARS.items()},
    # Cog has no schema for a value of any kind; in JSON Schema it is the empty one.
    Any: {"type": "object"},
    object: {},
}
_MAPPINGS: Final = (dict, Mapping)
LISTS: Final = (list, Sequence)


_UNITS: Final[Mapping[object, str]] = {"array": "Items", "object": "Properties"}
"""What a length of a value counts; of a string, its characters."""
_RESERVED: Final = frozenset({"Input", "Output", "TrainingInput", "TrainingOutput"})


def peel(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return *hint* without `Annotated`, and the annotations in it."""
    if get_origin(hint) is not Annotated:
        return hint, ()
    inner, *notes = get_args(hint)
    return _opaque(inner) if any(map(is_opaque, notes)) else inner, tuple(notes)


def _opaque(hint: Any) -> Any:
    """Return the annotation of an object, or a list of them, of which nothing is said."""
    hint, optional = split_optional(hint)
    found: Any = dict[str, Any]
    if (get_origin(hint) or hint) is list:
        found = list[dict[str, Any]]
    return found | None if optional else found


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


def is_file(hint: Any) -> bool:
    """Return whether *hint* is a class of files: ours, Cog's, or a `Path`."""
    kind: object = hint
    return isinstance(kind, type) and (issubclass(kind, _FILES) or cog_name(hint) == "File")


def is_secret(hint: Any) -> bool:
    """Return whether *hint* is a class of secrets, ours or Cog's."""
    return hint is Secret or cog_name(hint) == "Secret"


def members(hint: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union; none if *hint* is no union."""
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else ()


def is_record(hint: Any) -> bool:
    """Return whether *hint* is a class with named fields."""
    if not isinstance(hint, type) or is_file(hint) or is_secret(hint):
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


@dataclass(frozen=True)
class Field:
    """One input of a model: its schema and its annotation."""

    name: str
    hint: Any
    schema: Schema
    required: bool
    default: object = None
    """The value for a missing input."""


def input_schema(fields: Iterable[Field], title: str) -> Schema:
    """Return the component of a model's inputs."""
    fields = tuple(fields)
    schema: Schema = {
        "type": "object",
        "title": title,
        "properties": {field.name: field.schema for field in fields},
    }
    if required := [field.name for field in fields if field.required]:
        schema["required"] = required
    return schema


class SchemaBuilder:
    """Makes schemas from annotations, and keeps the components that they refer to.

    *types* adds to the annotations with a schema of their own, or replaces one.
    """

    def __init__(self, types: Mapping[Any, Schema] | None = None) -> None:
        self.components: dict[str, Schema] = {}
        self._plain = {**_PLAIN, **(types or {})}

    def add(self, name: str, schema: Schema) -> Schema:
        """Keep *schema* as a component *name*, with underscores if taken; return a reference."""
        taken = name
        while taken in _RESERVED or self.components.get(taken, schema) != schema:
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
        for note in notes:
            schema |= _constraints(note, schema)
        return {**schema, "nullable": True} if optional else schema

    def field(self, name: str, hint: Any, default: object, *, position: int, where: str) -> Field:
        """Return the input *name* with this annotation; ``...`` as the *default* means none.

        Raises `AnnotationError`, whose message starts with *where*.
        """
        bare, notes = peel(hint)
        inner, optional = split_optional(bare)
        options = _options((*notes, *peel(inner)[1]))
        if (given := as_options(default)) is not None:
            options, default = given, given.default
        elif default is ...:
            default = options.default
        if options.choices is not None:
            choices = choice_schema(name, options.choices, where)
            schema: Schema = {"allOf": [self.add(name, choices)]}
            schema |= {"nullable": True} if optional else {}
        else:
            schema = self.value(bare, name=name, where=where)
        self._refuse_files_in_records(inner, schema, where)
        for note in notes:
            if as_options(note) is None:
                schema |= _constraints(note, schema)
        schema |= options.constraints()
        # As in Cog, None as the default of a type without None means no default.
        has_default = default is not ... and default is not None
        if has_default:
            schema["default"] = self._json_default(default, schema, where)
        described: Schema = {"x-order": position}
        if "allOf" not in schema:
            described["title"] = title_of(name)
        described |= schema
        if options.description is not None:
            described["description"] = options.description
        if options.deprecated:
            described["deprecated"] = True
        required = not has_default and not optional
        return Field(name, bare, described, required, default if has_default else None)

    def fields(self, struct: type[msgspec.Struct], *, where: str) -> tuple[Field, ...]:
        """Return the inputs that are the fields of a msgspec Struct."""
        hints = get_type_hints(struct, include_extras=True)
        found: list[Field] = []
        for each in msgspec.structs.fields(struct):
            field = self.field(
                each.encode_name,
                hints[each.name],
                _default_of(each),
                position=len(found),
                where=f"{where}, field {each.name!r}",
            )
            found.append(dataclasses.replace(field, required=each.required))
        return tuple(found)

    def _json_default(self, default: object, schema: Schema, where: str) -> object:
        value: object = default.value if isinstance(default, Enum) else default
        try:
            wrong = check(value, schema, self.components, root="")
        except (TypeError, ValueError):
            wrong = None
        if wrong or wrong is None:
            reason = wrong[0].description if wrong else "JSON cannot hold it"
            raise AnnotationError(f"{where}: the default {default!r} does not fit: {reason}")
        return value

    def _refuse_files_in_records(self, hint: Any, schema: Schema, where: str) -> None:
        if is_record(hint) or any(is_record(part) for part in get_args(hint)):
            shown = str([schema, self.components.get(getattr(hint, "__name__", ""))])
            if "'uri'" in shown or "x-cog-secret" in shown:
                raise AnnotationError(
                    f"{where}: files and secrets are not allowed inside an object, "
                    f"only as a parameter or in a list"
                )

    def _present(self, hint: Any, name: str, where: str) -> Schema:
        if get_origin(hint) is Annotated:
            return self.value(hint, name=name, where=where)
        if (plain := self._plain_schema(hint)) is not None:
            return dict(plain)
        if (values := choices_of(hint)) is not None:
            return {"allOf": [self.add(name, choice_schema(name, values, where))]}
        if is_record(hint):
            return self.add(hint.__name__, self.record(hint, where=where))
        if alternatives := members(hint):
            self._check_union(alternatives, where)
            return {"anyOf": [self.value(part, name=name, where=where) for part in alternatives]}
        return self._container(hint, name=name, where=where)

    def _plain_schema(self, hint: Any) -> Schema | None:
        if hint in self._plain:
            return self._plain[hint]
        if is_file(hint):
            return _FILE
        return _SECRET if is_secret(hint) else None

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
            if is_file(part) or is_secret(part) or is_record(part):
                raise AnnotationError(
                    f"{where}: {show(part)} is not allowed in a union, only with '| None'"
                )


def _options(notes: Iterable[object]) -> InputOptions:
    """Return the options among the annotations of an input; a `Meta` may describe it, too."""
    found = InputOptions()
    for note in notes:
        if (options := as_options(note)) is not None:
            found = options
        elif isinstance(note, msgspec.Meta) and note.description is not None:
            found = dataclasses.replace(found, description=note.description)
    return found


def _constraints(note: object, schema: Schema) -> Schema:
    """Return the limits in an annotation of a value with *schema*, as JSON Schema keywords."""
    if (options := as_options(note)) is not None:
        return options.constraints()
    if not isinstance(note, msgspec.Meta):
        return {}
    unit = _UNITS.get(schema.get("type"), "Length")
    limits = {
        "minimum": note.ge,
        "maximum": note.le,
        "exclusiveMinimum": note.gt,
        "exclusiveMaximum": note.lt,
        "multipleOf": note.multiple_of,
        "pattern": note.pattern,
        f"min{unit}": note.min_length,
        f"max{unit}": note.max_length,
    }
    found = {keyword: limit for keyword, limit in limits.items() if limit is not None}
    return {**found, **(note.extra_json_schema or {})}


def _default_of(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return ... if field.default is msgspec.NODEFAULT else field.default


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
