"""Validates an input with a version's schema, in the service's own words.

The service validates with gojsonschema, against the Input component alone, and then puts ``input``
before each field: hence ``input.mood: mood must be one of the following: "happy", "sad"``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import combinations
from operator import ge, gt, le, lt
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

import msgspec

from replicate_async.interface.read import COMPONENTS, listed, mapping
from replicate_async.schemas import InvalidField


def validate(
    input: Mapping[str, object],
    schema: Mapping[str, Any],
    *,
    root: str = "input",
    component: str = "Input",
) -> list[InvalidField]:
    """Return the invalid fields of *input*, in the service's order.

    *schema* is a version's whole ``openapi_schema`` and *component* names the part to check
    against: ``TrainingInput`` for a training. A schema without it accepts everything. Unknown keys
    are ignored, and an explicit null is refused even where the schema says ``nullable``.
    """
    components = mapping(mapping(schema.get("components")).get("schemas"))
    return check(input, mapping(components.get(component)), components, root=root)


def check(
    value: object,
    schema: Mapping[str, Any],
    components: Mapping[str, Any],
    *,
    root: str = "input",
    nulls: bool = False,
) -> list[InvalidField]:
    """Return the invalid fields of *value*; *components* resolve the references of *schema*.

    With *nulls*, null is valid where the schema says ``nullable``.
    """
    found = _Check(root, components, [], nulls=nulls)
    found.visit(value, schema, ())
    return found.fields


def detail_text(fields: Iterable[InvalidField]) -> str:
    """Return the ``detail`` of a problem: a line for each of *fields*."""
    return "".join(
        f"- {field.field}: {field.description}\n" if field.field else f"- {field.description}\n"
        for field in fields
    )


@dataclass(frozen=True)
class _Rule:
    """A keyword that compares a number of the value with one of the schema."""

    keyword: str
    type: str
    text: str
    broken: Callable[[float, float], bool]


_AT_MOST: Final = "Must be less than or equal to {}"
_AT_LEAST: Final = "Must be greater than or equal to {}"
_NUMBER_RULES: Final = (
    _Rule("multipleOf", "multiple_of", "Must be a multiple of {}", lambda a, b: a % b != 0),
    _Rule("maximum", "number_lte", _AT_MOST, gt),
    _Rule("exclusiveMaximum", "number_lt", "Must be less than {}", ge),
    _Rule("minimum", "number_gte", _AT_LEAST, lt),
    _Rule("exclusiveMinimum", "number_gt", "Must be greater than {}", le),
    # Old versions of Cog wrote these two.
    _Rule("le", "number_lte", _AT_MOST, gt),
    _Rule("ge", "number_gte", _AT_LEAST, lt),
)
_LENGTH_RULES: Final = (
    _Rule("minLength", "string_gte", "String length must be greater than or equal to {}", lt),
    _Rule("maxLength", "string_lte", "String length must be less than or equal to {}", gt),
)
_ITEM_RULES: Final = (
    _Rule("minItems", "array_min_items", "Array must have at least {} items", lt),
    _Rule("maxItems", "array_max_items", "Array must have at most {} items", gt),
)
_PROPERTY_RULES: Final = (
    _Rule("minProperties", "array_min_properties", "Must have at least {} properties", lt),
    _Rule("maxProperties", "array_max_properties", "Must have at most {} properties", gt),
)


_Place: TypeAlias = tuple[str, tuple[str, ...]]
"""A reference, and the names and indexes that lead to a part of the value."""


class _Check:
    """One walk over a value, collecting its invalid fields."""

    def __init__(
        self, root: str, components: Mapping[str, Any], open: list[_Place], *, nulls: bool
    ) -> None:
        self.root = root
        self.nulls = nulls
        self.components = components
        self.open = open
        """The references that are being followed, each with its place in the value."""
        self.fields: list[InvalidField] = []

    def add(self, path: tuple[str, ...], type: str, description: str) -> None:
        names = (self.root, *path) if self.root else path
        self.fields.append(InvalidField(type=type, field=".".join(names), description=description))

    def visit(self, value: Any, schema: Mapping[str, Any], path: tuple[str, ...]) -> None:
        if value is None and self.nulls and schema.get("nullable"):
            return
        opened = len(self.open)
        self._visit(value, self._resolve(schema, path), path)
        del self.open[opened:]

    def _visit(self, value: Any, schema: Mapping[str, Any], path: tuple[str, ...]) -> None:
        given = json_type(value)
        if not _is_type(given, schema.get("type")):
            expected = _expected(schema["type"])
            text = f"Invalid type. Expected: {expected}, given: {given}"
            self.add(path, "invalid_type", text)
            return
        if isinstance(value, str):
            self._string(value, schema, path)
        self._combined(value, schema, path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._compare(value, schema, _NUMBER_RULES, path)
        elif isinstance(value, list | tuple):
            self._array(cast("Sequence[object]", value), schema, path)
        elif isinstance(value, Mapping):
            self._object(cast("Mapping[str, object]", value), schema, path)
        self._listed(cast("object", value), schema, path)
        if isinstance(value, Mapping):
            self._properties(cast("Mapping[str, object]", value), schema, path)

    def _resolve(self, schema: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
        """Follow references; one that leads back to itself says nothing of the value."""
        while isinstance(ref := schema.get("$ref"), str):
            if (ref, path) in self.open:
                return {}
            self.open.append((ref, path))
            schema = mapping(self.components.get(ref.removeprefix(COMPONENTS)))
        return schema

    def _compare(
        self,
        number: float,
        schema: Mapping[str, Any],
        rules: Iterable[_Rule],
        path: tuple[str, ...],
    ) -> None:
        for rule in rules:
            bound = schema.get(rule.keyword)
            if isinstance(bound, int | float) and not isinstance(bound, bool):
                if rule.keyword == "multipleOf" and bound == 0:
                    continue
                if rule.broken(number, bound):
                    self.add(path, rule.type, rule.text.format(f"{bound:.10g}"))

    def _string(self, value: str, schema: Mapping[str, Any], path: tuple[str, ...]) -> None:
        self._compare(len(value), schema, _LENGTH_RULES, path)
        pattern = schema.get("pattern")
        known = known_pattern(pattern) if isinstance(pattern, str) else None
        if known is not None and not known.search(value):
            self.add(path, "pattern", f"Does not match pattern '{pattern}'")
        form = schema.get("format")
        if isinstance(form, str) and not _FORMATS.get(form, _any_text)(value):
            self.add(path, "format", f"Does not match format '{form}'")

    def _combined(self, value: object, schema: Mapping[str, Any], path: tuple[str, ...]) -> None:
        if alternatives := _schemas(schema.get("anyOf")):
            tried = [self._try(value, alternative, path) for alternative in alternatives]
            if all(tried):
                self.add(path, "number_any_of", "Must validate at least one schema (anyOf)")
                self.fields += self._closest(tried, path)
        if alternatives := _schemas(schema.get("oneOf")):
            tried = [self._try(value, alternative, path) for alternative in alternatives]
            if sum(not fields for fields in tried) != 1:
                text = "Must validate one and only one schema (oneOf)"
                self.add(path, "number_one_of", text)
                self.fields += self._closest(tried, path) if all(tried) else []
        if parts := _schemas(schema.get("allOf")):
            tried = [self._try(value, part, path) for part in parts]
            self.fields += [field for fields in tried for field in fields]
            # An enum is an allOf of one reference, for which the service adds no line.
            if len(parts) > 1 and any(tried):
                self.add(path, "number_all_of", "Must validate all the schemas (allOf)")
        if isinstance(schema.get("not"), Mapping) and not self._try(value, schema["not"], path):
            self.add(path, "number_not", "Must not validate the schema (not)")

    def _try(
        self, value: object, schema: Mapping[str, Any], path: tuple[str, ...]
    ) -> list[InvalidField]:
        trial = _Check(self.root, self.components, self.open, nulls=self.nulls)
        trial.visit(value, schema, path)
        return trial.fields

    def _closest(
        self, tried: Sequence[list[InvalidField]], path: tuple[str, ...]
    ) -> list[InvalidField]:
        """Return the errors of the alternative that the value is closest to."""
        here = ".".join((self.root, *path) if self.root else path)
        for fields in tried:
            if (fields[0].type, fields[0].field) != ("invalid_type", here):
                return fields
        return tried[0]

    def _array(
        self, value: Sequence[object], schema: Mapping[str, Any], path: tuple[str, ...]
    ) -> None:
        items = schema.get("items")
        if isinstance(items, Mapping):
            for index, item in enumerate(value):
                self.visit(item, cast("Mapping[str, Any]", items), (*path, str(index)))
        self._compare(len(value), schema, _ITEM_RULES, path)
        if schema.get("uniqueItems") is True:
            encoded = [_canonical(item) for item in value]
            for first, second in combinations(range(len(encoded)), 2):
                if encoded[first] == encoded[second]:
                    text = f"array items[{first},{second}] must be unique"
                    self.add(path, "unique", text)

    def _object(
        self, value: Mapping[str, object], schema: Mapping[str, Any], path: tuple[str, ...]
    ) -> None:
        self._compare(len(value), schema, _PROPERTY_RULES, path)
        for name in listed(schema.get("required")):
            if isinstance(name, str) and name not in value:
                self.add(path, "required", f"{name} is required")
        extra = schema.get("additionalProperties")
        unknown = [name for name in value if name not in mapping(schema.get("properties"))]
        for name in unknown:
            if extra is False:
                text = f"Additional property {name} is not allowed"
                self.add(path, "additional_property_not_allowed", text)
            elif isinstance(extra, Mapping):
                self.visit(value[name], cast("Mapping[str, Any]", extra), (*path, name))

    def _listed(self, value: object, schema: Mapping[str, Any], path: tuple[str, ...]) -> None:
        name = ".".join(path) or "(root)"
        if "const" in schema and _canonical(value) != (allowed := _canonical(schema["const"])):
            self.add(path, "const", f"{name} does not match: {allowed}")
        choices = schema.get("enum")
        if not isinstance(choices, list | tuple):
            return
        texts = [_canonical(choice) for choice in cast("Sequence[object]", choices)]
        if texts and _canonical(value) not in texts:
            self.add(path, "enum", f"{name} must be one of the following: {', '.join(texts)}")

    def _properties(
        self, value: Mapping[str, object], schema: Mapping[str, Any], path: tuple[str, ...]
    ) -> None:
        for name, part in in_order(mapping(schema.get("properties"))):
            if name in value:
                self.visit(value[name], part, (*path, name))


def in_order(properties: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return a schema's properties as a form would show them: by ``x-order``, the others last."""

    def position(item: tuple[str, Mapping[str, Any]]) -> float:
        order = item[1].get("x-order")
        return order if isinstance(order, int) else float("inf")

    return sorted(((name, mapping(part)) for name, part in properties.items()), key=position)


def json_type(value: object) -> str:
    """Return JSON's name for what *value* is; a number without a fraction is an integer."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == value // 1 else "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


def _is_type(given: str, wanted: object) -> bool:
    if wanted is None:
        return True
    names = cast("list[object]", wanted) if isinstance(wanted, list) else [wanted]
    return given in names or (given == "integer" and "number" in names)


def _expected(wanted: object) -> str:
    if isinstance(wanted, list):
        return f"[{','.join(str(name) for name in cast('list[object]', wanted))}]"
    return str(wanted)


def _canonical(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return msgspec.json.encode(value, order="deterministic").decode()


def _schemas(value: object) -> list[Mapping[str, Any]]:
    return [mapping(part) for part in listed(value)]


@lru_cache(maxsize=512)
def known_pattern(pattern: str) -> re.Pattern[str] | None:
    """Return *pattern* compiled, or None if it is not in Python's dialect.

    Schemas have patterns of ECMA 262 and of Go.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a set that may mean another in a later Python
            return re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None


def _any_text(_text: str) -> bool:
    return True


def _is_uri(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme) and "\\" not in text
    except ValueError:
        return False


def _is_date_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


_FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {
    "uri": _is_uri,
    "date-time": _is_date_time,
}
