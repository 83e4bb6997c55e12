"""A model's inputs and output, read from its version's OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from replicate_async.files.find import Shape, output_shape

Schema: TypeAlias = Mapping[str, Any]

COMPONENTS: Final = "#/components/schemas/"
"""How a reference to a component begins."""
_LONGEST_CHAIN: Final = 16
_WIDEST_TYPE: Final = 36
_DEEPEST: Final = 4
_MOST_PARTS: Final = 8
_STRINGS: Final = {"uri": "file", "password": "secret"}


def mapping(value: object) -> Schema:
    """Return *value* if it is a mapping, else an empty one: a document may lack any level."""
    return cast("Schema", value) if isinstance(value, Mapping) else {}


def listed(value: object) -> Sequence[Any]:
    """Return *value* if it is a list, else an empty one."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType] - of anything


def required_names(schema: Schema) -> frozenset[str]:
    """Return the names that *schema* requires."""
    return frozenset(name for name in listed(schema.get("required")) if isinstance(name, str))


def resolve(schema: Schema, components: Schema) -> Schema:
    """Return *schema* with its references followed, and without its null alternative."""
    for _ in range(_LONGEST_CHAIN):
        parts = [mapping(part) for part in listed(schema.get("allOf"))]
        choices = [mapping(part) for part in listed(schema.get("anyOf") or schema.get("oneOf"))]
        choices = [part for part in choices if part.get("type") != "null"]
        ref = schema.get("$ref")
        if isinstance(ref, str):
            inner = mapping(components.get(ref.removeprefix(COMPONENTS)))
        elif len(parts) == 1:
            inner = parts[0]
        elif len(choices) == 1:
            inner = choices[0]
        else:
            break
        outer = {k: v for k, v in schema.items() if k not in {"$ref", "allOf", "anyOf", "oneOf"}}
        schema = {**inner, **outer}
    kinds = listed(schema.get("type"))
    if kinds:
        wanted = [kind for kind in kinds if kind != "null"]
        schema = {**schema, "type": wanted[0] if len(wanted) == 1 else wanted}
    return schema


@dataclass(frozen=True)
class InputField:
    """One of a model's inputs; *schema* is resolved, *components* has what it refers to."""

    name: str
    schema: Schema
    components: Schema
    required: bool

    @property
    def type(self) -> str:
        """Its type in a few words: ``integer 1..10``, ``fire | ocean``, ``file``."""
        return type_words(self.schema, self.components)

    @property
    def description(self) -> str:
        """The description by the model's author."""
        return str(self.schema.get("description") or "")


@dataclass(frozen=True)
class Interface:
    """The inputs and the output of the model *ref*; ``inputs`` is None without a schema."""

    ref: str
    inputs: Mapping[str, InputField] | None
    output: Schema
    """The resolved schema of the output, and of its items."""
    components: Schema
    """The schemas that others refer to, by name."""
    shape: Shape | None = None
    """The places of files in the output, if they are known."""

    @classmethod
    def read(cls, ref: str, document: Mapping[str, Any] | None) -> Interface:
        """Return the interface that *document*, a version's ``openapi_schema``, describes."""
        components = mapping(mapping(mapping(document).get("components")).get("schemas"))
        output = resolve(mapping(components.get("Output")), components)
        if isinstance(output.get("items"), Mapping):
            output = {**output, "items": resolve(output["items"], components)}
        shape = output_shape(document)
        if "Input" not in components:
            return cls(ref, None, output, components, shape)
        schema = resolve(mapping(components["Input"]), components)
        required = required_names(schema)
        fields = [
            InputField(name, resolve(mapping(part), components), components, name in required)
            for name, part in mapping(schema.get("properties")).items()
        ]
        fields.sort(key=_order)
        return cls(ref, {field.name: field for field in fields}, output, components, shape)

    @property
    def is_text(self) -> bool:
        """Whether the output is a list of strings that make up one text."""
        return self.output.get("x-cog-array-display") == "concatenate"

    @property
    def gives_files(self) -> bool:
        """Whether the output is a file or a list of files."""
        return "uri" in (self.output.get("format"), mapping(self.output.get("items")).get("format"))

    @property
    def gives_items(self) -> bool:
        """Whether the output is files, or a list of values that make up no text."""
        return self.gives_files or (self.output.get("type") == "array" and not self.is_text)


def type_words(schema: Schema, components: Schema, depth: int = _DEEPEST) -> str:
    """Return the type of a resolved *schema* in a few words, *depth* lists deep."""
    if not depth:
        return "anything"
    if choices := listed(schema.get("enum")):
        words = " | ".join(str(choice) for choice in choices)
        return words if len(words) <= _WIDEST_TYPE else f"one of {len(choices)}"
    if parts := alternatives(schema, components):
        some = (type_words(part, components, min(depth, 3) - 1) for part in parts[:_MOST_PARTS])
        names = dict.fromkeys(some)
        return "anything" if "anything" in names else " or ".join(names)
    kind = str(schema.get("type") or "anything")
    if kind == "array":
        items = resolve(mapping(schema.get("items")), components)
        return f"list of {type_words(items, components, depth - 1)}"
    if kind == "string":
        return _STRINGS.get(str(schema.get("format")), kind)
    return f"{kind}{_bounds(schema)}"


def alternatives(schema: Schema, components: Schema) -> list[Schema]:
    """Return the alternatives of *schema*, resolved; none if there is one only."""
    if parts := listed(schema.get("anyOf") or schema.get("oneOf")):
        return [resolve(mapping(part), components) for part in parts]
    return [{**schema, "type": kind} for kind in listed(schema.get("type"))]


def _bounds(schema: Schema) -> str:
    low, high = _number(schema, "minimum", "ge"), _number(schema, "maximum", "le")
    if low and high:
        return f" {low}..{high}"
    limits = {
        ">=": low,
        ">": _number(schema, "exclusiveMinimum"),
        "<=": high,
        "<": _number(schema, "exclusiveMaximum"),
    }
    return ",".join(f" {sign} {number}" for sign, number in limits.items() if number)


def _number(schema: Schema, *keywords: str) -> str:
    """Return the number of the first of *keywords*, of which old versions of Cog wrote others."""
    for keyword in keywords:
        number = schema.get(keyword)
        if isinstance(number, int | float) and not isinstance(number, bool):
            return f"{number:g}" if isinstance(number, float) else str(number)
    return ""


def _order(field: InputField) -> float:
    order = field.schema.get("x-order")
    return order if isinstance(order, int) else float("inf")
