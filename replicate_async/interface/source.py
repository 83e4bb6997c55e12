"""The module of types that `replicate-async types` writes.

A module is code made of a stranger's text: each text of the schema passes `literal` or `docstring`,
and each name `identifier`. The same schema gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, cast

from replicate_async.errors import InvalidArgumentError
from replicate_async.interface.hints import Field, HintBuilder, Record
from replicate_async.interface.layout import WIDTH, Code, Either, Group, assignment, class_header
from replicate_async.interface.names import literal
from replicate_async.interface.read import COMPONENTS, Schema, mapping
from replicate_async.interface.structs import (
    INPUT,
    TRAINING_INPUT,
    components_of,
    input_fields,
    output_hint,
)

_MODULES: Final[Mapping[str, frozenset[str]]] = {
    "typing": frozenset({"Annotated", "Any", "Final", "Literal", "TypeAlias"}),
    "msgspec": frozenset({"Meta", "Struct", "field"}),
    "replicate_async": frozenset({"FileInput", "FileOutput", "Secret", "TypedModel"}),
}
"""Where the names of a module come from."""
_OUTPUT_OPTIONS: Final = ("Struct", "kw_only=True", "frozen=True")
_INPUT_OPTIONS: Final = (*_OUTPUT_OPTIONS, "omit_defaults=True")
_HEADER: Final = re.compile(
    r"^Generated from (\S+) by ``replicate-async types``; do not edit\."
    r"(?:\nSchema: ([0-9a-f]{12}))?\s*\Z",
    re.MULTILINE,
)
_QUOTES: Final = re.compile('"{3,}')
_OPEN_QUOTE: Final = re.compile(r'((?:^|[^\\])(?:\\\\)*)"$')
"""A quotation mark at the end of a line that no backslash escapes."""


class Header(NamedTuple):
    """What the docstring of a generated module says about its origin."""

    ref: str
    schema: str | None
    """The digest of the schema, for a model whose version changes."""

    @classmethod
    def read(cls, docstring: str) -> Header | None:
        """Return the header in *docstring*; None if the module is not a generated one."""
        found = _HEADER.search(docstring)
        return cls(found[1], found[2]) if found else None


def module_source(
    ref: str, document: Mapping[str, Any] | None, *, description: str | None = None
) -> str:
    """Return the source of a module with the types of a model, as `ruff format` leaves it.

    Args:
        ref: "owner/name:version", or "owner/name" for a model whose version changes.
        document: The version's ``openapi_schema``.
        description: The model's own, for the docstring.

    Raises `InvalidArgumentError` for a version without a schema of inputs.
    """
    components = components_of(document)
    if INPUT not in components:
        raise InvalidArgumentError(f"{ref} has no schema to make types of.")
    inputs = [Record(INPUT, "What the model takes.", input_fields(components, INPUT))]
    arguments = [literal(ref), "input=Input", "output=Output"]
    if TRAINING_INPUT in components:
        fields = input_fields(components, TRAINING_INPUT)
        inputs.append(Record(TRAINING_INPUT, "What a training of the model takes.", fields))
        arguments.append("training=TrainingInput")
    builder = HintBuilder(components, "output")
    output = output_hint(builder)
    classes = [_struct(record, _INPUT_OPTIONS) for record in inputs]
    classes += [_struct(_described(record), _OUTPUT_OPTIONS) for record in builder.records]
    names = {"Final", "Struct", "TypedModel", *_names_in(output.code)}
    names.update(*(_names_of(record.fields) for record in (*inputs, *builder.records)))
    model = f"MODEL: Final[TypedModel[Input, Output]] = TypedModel(\n{_arguments(arguments)})\n"
    if output.code != "Output":
        names.add("TypeAlias")
        model = f"{assignment('Output', 'TypeAlias', output.code)}\n\n{model}"
    about = description if description and list(_wrapped(description, WIDTH)) else ref
    top = f"{docstring(about, header=_header(ref, document))}\n\n{_imports(names)}"
    return "\n\n\n".join((top, *classes, model))


def schema_digest(document: Mapping[str, Any] | None) -> str:
    """Return 12 hexadecimal digits of the input and output of a version, and all they refer to."""
    components = components_of(document)
    found: dict[str, Schema] = {}
    names = ["Input", "Output"]
    while names:
        name = names.pop()
        if name not in found and name in components:
            found[name] = mapping(components[name])
            names += _references(found[name])
    text = json.dumps(found, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def docstring(text: str, indent: int = 0, *, header: Iterable[str] = ()) -> str:
    """Return *text* as a docstring, with its lines wrapped; *header* are lines that stand below."""
    margin = " " * indent
    lines = list(_wrapped(text, WIDTH - indent - 6))
    lines += ["", *header] if header else []
    if len(lines) == 1:
        lines[0] = _OPEN_QUOTE.sub(r'\1\\"', lines[0])
    space = " " if lines[0].startswith('"') else ""
    if len(lines) == 1:
        return f'{margin}"""{space}{lines[0]}"""'
    body = "\n".join(f"{margin}{line}".rstrip() for line in (*lines[1:], '"""'))
    return f'{margin}"""{space}{lines[0]}\n{body}'


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Yield the lines of *text*, escaped, with one blank line between paragraphs."""
    gap = ""
    for line in text.splitlines():
        words = "".join(char if char.isprintable() else " " for char in line).split()
        if not words:
            gap = gap and "\n"
            continue
        if gap == "\n":
            yield ""
        gap = " "
        kept = " ".join(words).replace("\\", "\\\\")
        kept = _QUOTES.sub(lambda found: '\\"' * len(found[0]), kept)
        yield from textwrap.wrap(kept, width, break_long_words=False, break_on_hyphens=False)


def _header(ref: str, document: Mapping[str, Any] | None) -> list[str]:
    lines = [f"Generated from {ref} by ``replicate-async types``; do not edit."]
    return lines if ":" in ref else [*lines, f"Schema: {schema_digest(document)}"]


def _struct(record: Record, options: Sequence[str]) -> str:
    blocks = [docstring(record.description, 4)]
    for field in record.fields:
        value = _value(field)
        lines = assignment(field.name, field.hint.code, value, indent=4)
        if list(_wrapped(field.description, WIDTH)):
            lines += "\n" + docstring(field.description, 4)
        blocks.append(lines)
    body = "\n\n".join(blocks)
    return f"{class_header(record.name, options)}\n{body}"


def _described(record: Record) -> Record:
    if list(_wrapped(record.description, WIDTH)):
        return record
    whole = record.name == "Output"
    return replace(
        record, description="What the model returns." if whole else "A part of the output."
    )


def _arguments(arguments: Iterable[str]) -> str:
    return "".join(f"    {argument},\n" for argument in arguments)


def _value(field: Field) -> Code | None:
    name = [f"name={literal(field.key)}"] if field.key != field.name else []
    if field.required:
        return Group("field(", name, ")") if name else None
    value: object = field.default
    if _is_made(value):
        factory = _labelled("default_factory=lambda: ", _code(value))
        return Group("field(", [factory, *name], ")")
    if name:
        return Group("field(", [_labelled("default=", _code(value)), *name], ")")
    return _code(value)


def _is_made(default: object) -> bool:
    """Return whether a default needs a factory; msgspec itself copies an empty list or dict."""
    return isinstance(default, list | dict) and bool(cast("object", default))


def _code(value: object) -> Code:
    """Return the expression of a JSON value."""
    if isinstance(value, list):
        return Group(
            "[", [_code(item) for item in cast("list[object]", value)], "]", is_display=True
        )
    if isinstance(value, dict):
        parts = cast("dict[str, object]", value).items()
        items = [_labelled(f"{literal(key)}: ", _code(part)) for key, part in parts]
        return Group("{", items, "}", is_display=True)
    return literal(value)


def _labelled(label: str, code: Code) -> Code:
    if isinstance(code, Group):
        return replace(code, head=label + code.head)
    return f"{label}{code}"


def _names_of(fields: Sequence[Field]) -> set[str]:
    names = set[str]()
    for field in fields:
        names |= _names_in(field.hint.code)
        if field.key != field.name or _is_made(field.default):
            names.add("field")
    return names


def _names_in(code: Code) -> set[str]:
    """Return the names in the expression of a type."""
    if isinstance(code, str):
        return {code}
    if isinstance(code, Either):
        return set[str]().union(*map(_names_in, code.parts))
    inner = () if code.head in {"Literal[", "Meta("} else code.items
    return {code.head[:-1]}.union(*map(_names_in, inner))


def _imports(names: set[str]) -> str:
    lines = ["from __future__ import annotations", ""]
    for module, known in _MODULES.items():
        lines.append(f"from {module} import {', '.join(sorted(names & known))}")
        lines += [""] if module == "typing" else []
    return "\n".join(lines)


def _references(value: object) -> Iterator[str]:
    """Yield the names of the components that *value* refers to."""
    if isinstance(value, Mapping):
        ref = mapping(cast("object", value)).get("$ref")
        if isinstance(ref, str):
            yield ref.removeprefix(COMPONENTS)
        for part in cast("Mapping[str, object]", value).values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in cast("list[object]", value):
            yield from _references(part)
