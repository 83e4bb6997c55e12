"""Types of a model's inputs and outputs, from their schemas.

One recursion makes both the type that msgspec reads and the expression that a generated module has,
so that they agree.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, cast, get_args

import msgspec
from msgspec import Meta

from replicate_async.core.secret import Secret
from replicate_async.files.file_input import FileInput
from replicate_async.files.output import FileOutput
from replicate_async.interface.layout import Code, Either, Group
from replicate_async.interface.names import (
    class_name,
    is_encodable,
    is_taken,
    is_text,
    literal,
    python_names,
)
from replicate_async.interface.read import COMPONENTS, Schema, listed, mapping, required_names
from replicate_async.interface.validation import in_order

Role: TypeAlias = Literal["input", "output", "wire"]
"""What a type is for: annotations of an input or an output, or JSON that is about to be sent."""

_LONGEST_CHAIN: Final = 16
_DEEPEST: Final = 32
_MOST_PARTS: Final = 5000
"""Parts of one interface; the schemas of 1,889 models have at most a few hundred."""
_INT64: Final = 2**63
_EXACT_FLOATS: Final = 2**53
"""Integers up to here are floats without a loss."""

_URL: Final = r"^(?:https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][^\\]*)?|data:[^\\/][^\\]*)$"
"""URLs that the walk accepts, too; it decides about all others."""
_ANNOTATIONS: Final = frozenset(
    {
        "default",
        "deprecated",
        "description",
        "example",
        "examples",
        "nullable",
        "title",
        "writeOnly",
    }
)
"""Keywords that refuse no value, besides those that begin with ``x-``."""
_REFERRING: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
_NUMBERS: Final = frozenset(
    {"type", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "ge", "le"}
)
_STRINGS: Final = frozenset({"type", "format", "minLength", "maxLength", "pattern"})


class Hint(NamedTuple):
    """A type and the expression for it."""

    type: Any
    code: Code
    exact: bool = True
    """Whether the type accepts only values that the schema accepts."""


class Field(NamedTuple):
    """A field of a struct."""

    name: str
    key: str
    """The name in JSON."""
    hint: Hint
    required: bool
    default: Any
    description: str


@dataclass(frozen=True)
class Record:
    """A struct of an output."""

    name: str
    description: str
    fields: Sequence[Field]


TOP: Final = ""
"""The name of the output as a whole."""
ANYTHING: Final = Hint(Any, "Any")
_UNCHECKED: Final = Hint(Any, "Any", exact=False)


class HintBuilder:
    """Makes types of schemas, and keeps the structs that they use."""

    def __init__(self, components: Schema, role: Role) -> None:
        self.components = components
        self.role: Role = role
        self.records: list[Record] = []
        self._structs: dict[str, tuple[Schema, Any]] = {}
        self._field_names: set[str] = set()
        self._open: list[str] = []
        self._depth = 0
        self._parts = 0
        self._readers: Mapping[str, Callable[[Schema, str], Hint]] = {
            "string": self._string,
            "integer": self._number,
            "number": self._number,
            "boolean": self._boolean,
            "array": self._array,
            "object": self._object,
        }

    def hint(self, schema: Schema, name: str) -> Hint:
        """Return the type of *schema*.

        A struct without a title gets *name*, which is `TOP` for the output as a whole.
        """
        self._parts += 1
        if self._depth == _DEEPEST or self._parts > _MOST_PARTS:
            return _UNCHECKED
        opened = len(self._open)
        self._depth += 1
        try:
            return self._hint(schema, name)
        finally:
            self._depth -= 1
            del self._open[opened:]

    def _hint(self, schema: Schema, name: str) -> Hint:
        opened = len(self._open)
        followed = self._follow(schema)
        if followed is None:
            return _UNCHECKED
        schema, nullable, exact = followed
        if name != TOP and len(self._open) > opened:
            name = self._open[-1].removeprefix(COMPONENTS)
        nullable = nullable or (self.role == "output" and schema.get("nullable") is True)
        if nullable and name == TOP and "properties" in schema:
            name = "Output"  # `Output` is the union of the struct and None
        hint = self._present(schema, name)
        hint = hint._replace(exact=hint.exact and exact)
        return optional(hint) if nullable else hint

    def _follow(self, schema: Schema) -> tuple[Schema, bool, bool] | None:
        """Follow references; return the schema, whether it takes null, and whether that is all.

        None for a schema that refers to itself.
        """
        nullable, exact = False, True
        for _ in range(_LONGEST_CHAIN):
            ref = schema.get("$ref")
            parts = [mapping(part) for part in listed(schema.get("allOf"))]
            choices = [mapping(part) for part in listed(schema.get("anyOf") or schema.get("oneOf"))]
            present = [part for part in choices if part.get("type") != "null"]
            if isinstance(ref, str):
                if ref in self._open:
                    return None
                self._open.append(ref)
                inner = mapping(self.components.get(ref.removeprefix(COMPONENTS)))
            elif len(parts) == 1:
                inner = parts[0]
            elif choices and len(present) == 1:
                inner = present[0]
                nullable |= len(choices) > 1
                exact &= "anyOf" in schema or len(choices) == 1  # null may be one of two in oneOf
            else:
                return schema, nullable, exact
            outer = {k: v for k, v in schema.items() if k not in _REFERRING}
            exact &= not _checked(outer)
            schema = {**inner, **outer}
        return schema, nullable, False

    def _present(self, schema: Schema, name: str) -> Hint:
        choices = listed(schema.get("enum"))
        if self.role != "output" and (hint := _literal(schema, choices)):
            return hint
        for keyword_ in ("anyOf", "oneOf"):
            if parts := listed(schema.get(keyword_)):
                union = self._union([mapping(part) for part in parts], name)
                exact = keyword_ == "anyOf" and _checked(schema) == {"anyOf"}
                return union._replace(exact=union.exact and exact)
        if kinds := listed(schema.get("type")):
            return self._union([{**schema, "type": kind} for kind in kinds], name)
        kind = schema.get("type") or _kind_of(choices)
        read = self._readers.get(str(kind))
        if read is not None:
            return read(schema, name)
        return _UNCHECKED if _checked(schema) else ANYTHING

    def _string(self, schema: Schema, _name: str) -> Hint:
        form = schema.get("format")
        exact = _checked(schema) <= _STRINGS and form != "date-time"
        if form == "uri" and self.role != "wire":
            if self.role == "output":
                return Hint(FileOutput, "FileOutput")
            return Hint(FileInput, "FileInput")
        if (form == "password" or schema.get("x-cog-secret") is True) and self.role == "input":
            return Hint(Secret, "Secret")
        limits, said = _lengths(schema)
        if form == "uri":
            said = said and "pattern" not in limits
            limits["pattern"] = _URL
        return _limited(
            Hint(str, "str", exact=exact and said), {} if self.role == "output" else limits
        )

    def _number(self, schema: Schema, _name: str) -> Hint:
        integer = schema.get("type") == "integer"
        limits, said = _bounds(schema, integer=integer)
        exact = said and _checked(schema) <= _NUMBERS
        plain = Hint(int, "int", exact) if integer else Hint(float, "float", exact)
        return plain if self.role == "output" else _limited(plain, limits)

    def _boolean(self, schema: Schema, _name: str) -> Hint:
        return Hint(bool, "bool", exact=_checked(schema) <= {"type", "format"})

    def _array(self, schema: Schema, name: str) -> Hint:
        if name == TOP and schema.get("x-cog-array-display") == "concatenate":
            return Hint(str, "str")
        given = schema.get("items")
        item = self.hint(mapping(given), _singular(name)) if given else ANYTHING
        exact = item.exact and _checked(schema) <= {"type", "items"}
        return Hint(_of(list, item.type), Group("list[", [item.code], "]"), exact)

    def _object(self, schema: Schema, name: str) -> Hint:
        if self.role == "output" and mapping(schema.get("properties")):
            return self._struct(schema, name)
        extra = mapping(schema.get("additionalProperties"))
        value = self.hint(extra, _singular(name)) if extra else ANYTHING
        simple = schema.get("additionalProperties") is not False
        exact = value.exact and simple and _checked(schema) <= {"type", "additionalProperties"}
        return Hint(_of(dict, (str, value.type)), Group("dict[", ["str", value.code], "]"), exact)

    def _union(self, parts: Sequence[Schema], name: str) -> Hint:
        present = [part for part in parts if part.get("type") != "null"]
        structs = len(self.records)
        hints = [self.hint(part, name or "Output") for part in present]
        if len(hints) > 1:
            hints = [_without_pattern(hint) for hint in hints]
        union = _joined(hints)
        if union is Any:
            for record in self.records[structs:]:
                del self._structs[record.name]
            del self.records[structs:]
            return _UNCHECKED
        codes: list[Code] = []
        for hint in hints:
            own = hint.code.parts if isinstance(hint.code, Either) else [hint.code]
            codes += [code for code in own if code not in codes]
        nullable = "None" in codes or len(present) < len(parts)
        codes = [code for code in codes if code != "None"]
        exact = all(hint.exact for hint in hints)
        found = Hint(union, codes[0] if len(codes) == 1 else Either(codes), exact)
        return optional(found) if nullable else found

    def _struct(self, schema: Schema, name: str) -> Hint:
        title = schema.get("title")
        base = "Output" if name == TOP else class_name(title if isinstance(title, str) else name)
        for known, struct in self._structs.values():
            if known == schema and name != TOP:
                return Hint(struct, struct.__name__) if struct is not None else _UNCHECKED
        properties = _encodable(in_order(mapping(schema.get("properties"))))
        names = python_names((key for key, _ in properties), self._structs)
        self._field_names |= set(names)
        own = base
        while name != TOP and (own in self._structs or own in self._field_names or is_taken(own)):
            own += "_"
        self._structs[own] = (schema, None)  # so that no struct in it has the same name
        required = required_names(schema)
        fields: list[Field] = []
        for field, (key, part) in zip(names, properties, strict=True):
            hint = self.hint(part, key or "Field")
            needed = key in required
            if not needed:
                hint = optional(hint)
            fields.append(Field(field, key, hint, needed, None, description_of(part)))
        struct = make_struct(own, fields)
        self._structs[own] = (schema, struct)
        self.records.append(Record(own, description_of(schema), fields))
        return Hint(struct, own)


def _without_pattern(hint: Hint) -> Hint:
    """Return *hint* without the pattern of a text.

    msgspec 0.22 takes it for a type where a list or a dict is in the union, too, and crashes.
    """
    if isinstance(hint.code, Either) and len(hint.code.parts) == 2:
        inner, none = hint.code.parts
        if none == "None":
            kind = get_args(hint.type)[0]
            return optional(_without_pattern(Hint(kind, inner, hint.exact)))
    notes = getattr(hint.type, "__metadata__", ())
    if not (notes and isinstance(notes[0], Meta) and notes[0].pattern is not None):
        return hint
    limits = {"min_length": notes[0].min_length, "max_length": notes[0].max_length}
    kept = {word: limit for word, limit in limits.items() if limit is not None}
    return _limited(Hint(str, "str", exact=False), kept)


def _limited(hint: Hint, limits: Mapping[str, Any]) -> Hint:
    if not limits:
        return hint
    annotated: Any = Annotated[hint.type, Meta(**limits)]
    notes = Group("Meta(", [f"{word}={literal(limit)}" for word, limit in limits.items()], ")")
    return Hint(annotated, Group("Annotated[", [hint.code, notes], "]"), hint.exact)


def optional(hint: Hint) -> Hint:
    """Return *hint* with None."""
    if hint.type is Any or (isinstance(hint.code, Either) and hint.code.parts[-1] == "None"):
        return hint
    parts = hint.code.parts if isinstance(hint.code, Either) else [hint.code]
    return Hint(hint.type | None, Either([*parts, "None"]), hint.exact)


def make_struct(
    name: str, fields: Iterable[Field], *, omit_defaults: bool = False, strict: bool = False
) -> type[msgspec.Struct]:
    """Return a keyword-only, frozen struct; a *strict* one forbids unknown fields."""
    members = [
        (field.name, field.hint.type, _member(field))
        if not field.required or field.name != field.key
        else (field.name, field.hint.type)
        for field in fields
    ]
    return msgspec.defstruct(
        name,
        members,
        kw_only=True,
        frozen=True,
        omit_defaults=omit_defaults,
        forbid_unknown_fields=strict,
    )


def _member(field: Field) -> Any:
    name = field.key if field.key != field.name else None
    if field.required:
        return msgspec.field(name=name)
    value: object = field.default
    if value in ([], {}):
        return msgspec.field(default_factory=type(value), name=name)
    if isinstance(value, list | dict):
        return msgspec.field(default_factory=lambda: _copy(field.default), name=name)
    return msgspec.field(default=value, name=name)


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return [_copy(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in cast("dict[str, object]", value).items()}
    return value


def description_of(schema: Schema) -> str:
    """Return the description at *schema* itself; what it refers to has "An enumeration."."""
    text = schema.get("description")
    return text if isinstance(text, str) else ""


def _encodable(properties: Iterable[tuple[str, Schema]]) -> list[tuple[str, Schema]]:
    return [(key, part) for key, part in properties if is_encodable(key)]


def _of(container: Any, items: Any) -> Any:
    """Return *container* of *items*, which no type checker can know."""
    return container[items]


def _singular(name: str) -> str:
    return "Item" if name == TOP else name


def _checked(schema: Schema) -> set[str]:
    """Return the keywords of *schema* that may refuse a value."""
    return {word for word in schema if word not in _ANNOTATIONS and not word.startswith("x-")}


def _kind_of(choices: Sequence[object]) -> str | None:
    return "string" if choices and all(isinstance(choice, str) for choice in choices) else None


def _literal(schema: Schema, choices: Sequence[object]) -> Hint | None:
    """Return the type of a list of choices; None where Python has none."""
    given = [choice for choice in choices if choice is not None]
    if not given or not all(map(_is_literal, given)) or len(set(map(type, given))) > 1:
        return None
    kept = list(dict.fromkeys(given))
    kind = schema.get("type")
    types = {"string": str, "integer": int, "number": int}
    declared = kind is None or all(isinstance(c, types.get(str(kind), ())) for c in kept)
    exact = declared and _checked(schema) <= {"type", "enum"}
    return Hint(Literal[tuple(kept)], Group("Literal[", [literal(c) for c in kept], "]"), exact)


def _is_literal(choice: object) -> bool:
    """Return whether msgspec takes *choice* in a Literal."""
    if isinstance(choice, str):
        return is_text(choice)
    return isinstance(choice, int) and not isinstance(choice, bool) and -_INT64 <= choice < _INT64


def _lengths(schema: Schema) -> tuple[dict[str, Any], bool]:
    """Return the limits of a text, and whether those are all of them."""
    limits: dict[str, Any] = {}
    said = True
    for word, name in (("minLength", "min_length"), ("maxLength", "max_length")):
        limit = schema.get(word)
        if limit is None:
            continue
        if isinstance(limit, int) and not isinstance(limit, bool) and 0 <= limit < _INT64:
            limits[name] = limit
        else:
            said = False
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and _compiles(pattern):
        limits["pattern"] = pattern
    elif pattern is not None:
        said = False
    return limits, said


def _bounds(schema: Schema, *, integer: bool) -> tuple[dict[str, Any], bool]:
    """Return the bounds of a number, and whether those are all of them."""
    said = True
    limits: dict[str, Any] = {}
    for sign, closed, opened, words in _SIDES:
        found: list[tuple[float, bool]] = []  # the bound from below, and whether it is excluded
        for word, excluded in words:
            bound = schema.get(word)
            if not isinstance(bound, int | float) or isinstance(bound, bool):
                continue
            usable, exact = _usable(bound, integer=integer)
            said &= exact
            if usable:
                found.append((sign * bound, excluded))
        if not found:
            continue
        bound, excluded = max(found)
        if integer:
            whole = math.ceil(bound)
            excluded = excluded and whole == bound
            bound = whole
        limits[opened if excluded else closed] = sign * bound
    return limits, said


_SIDES: Final = (
    (1, "ge", "gt", (("minimum", False), ("ge", False), ("exclusiveMinimum", True))),
    (-1, "le", "lt", (("maximum", False), ("le", False), ("exclusiveMaximum", True))),
)


def _usable(bound: float, *, integer: bool) -> tuple[bool, bool]:
    """Return whether msgspec takes *bound*, and whether it compares with it as JSON does."""
    if integer:
        fits = math.isfinite(bound) and -_INT64 < bound < _INT64
        return fits, fits
    try:
        fits = math.isfinite(float(bound))
    except OverflowError:
        return False, False
    return fits, fits and abs(bound) <= _EXACT_FLOATS


def _joined(hints: Sequence[Hint]) -> Any:
    """Return the union of types; `Any` for one that msgspec does not take."""
    if not hints or any(hint.type is Any for hint in hints):
        return Any
    union: Any = hints[0].type
    for hint in hints[1:]:
        union |= hint.type
    try:
        msgspec.json.Decoder(union if len(hints) > 1 else None)
    except (TypeError, ValueError, NotImplementedError):
        return Any
    return union


@lru_cache(maxsize=256)
def _compiles(pattern: str) -> bool:
    """Return whether a generated module can have *pattern*: it compiles, and without a warning."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError, FutureWarning, DeprecationWarning):
        return False
    return True
