"""The inputs of a model for a reader: as text for ``help``, and as a table for a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from replicate_async.interface.read import InputField, Interface, listed, type_words
from replicate_async.interface.refusal import is_secret, show, takes

_LONGEST: Final = 400
_COLUMNS: Final = ("input", "type", "default", "bounds", "description")
_NUMBERS: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "ge", "le"}
)
_LEFT: Final = ' style="text-align: left"'


def inputs_text(interface: Interface) -> str:
    """Return a line about each input."""
    return "\n".join(map(_line, (interface.inputs or {}).values()))


def inputs_table(interface: Interface) -> str:
    """Return the inputs as an HTML table, with all text escaped."""
    head = "".join(f"<th{_LEFT}>{name}</th>" for name in _COLUMNS)
    rows = (
        "".join(f"<td{_LEFT}>{escape(cell)}</td>" for cell in _cells(field))
        for field in (interface.inputs or {}).values()
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><caption>{escape(interface.ref)}</caption><tr>{head}</tr>{body}</table>"


def _line(field: InputField) -> str:
    default = _default(field)
    about = f"; by default {default}" if default and not field.required else ""
    required = ", required" if field.required else ""
    words = f"{field.name}: {takes(field.schema, field.components)}{required}{about}."
    return f"{words} {_one_line(field.description)}".rstrip()


def _cells(field: InputField) -> Iterator[str]:
    plain = {key: value for key, value in field.schema.items() if key not in _NUMBERS}
    kind = type_words(plain, field.components)
    yield field.name
    if choices := listed(field.schema.get("enum")):
        yield _cut(" | ".join(map(show, choices)))
    else:
        yield kind
    yield "required" if field.required else _default(field)
    yield ", ".join(_bounds(field, kind))
    yield _one_line(field.description)


def _default(field: InputField) -> str:
    value = field.schema.get("default")
    return "" if value is None or is_secret(field.schema) else show(value)


def _bounds(field: InputField, kind: str) -> Iterator[str]:
    """Yield the bounds of a number, and of the length and the characters of a text."""
    if not listed(field.schema.get("enum")) and (numbers := field.type.removeprefix(kind)):
        yield numbers.strip()
    low, high = field.schema.get("minLength"), field.schema.get("maxLength")
    if low is not None or high is not None:
        yield f"{low or 0}..{'' if high is None else high} characters"
    if pattern := field.schema.get("pattern"):
        yield f"matches {pattern}"


def _one_line(text: str) -> str:
    return _cut(" ".join(text.split()))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
