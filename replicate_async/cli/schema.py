"""A model's inputs as lines of text."""

from __future__ import annotations

import msgspec

from replicate_async.cli.errors import one_line
from replicate_async.interface.read import InputField, Interface


def listing(interface: Interface) -> str:
    """Return the inputs of a model as lines of text."""
    if interface.inputs is None:
        return ""
    if not interface.inputs:
        return f"{interface.ref} takes no inputs."
    rows = [
        (field.name, field.type, _default(field), one_line(field.description))
        for field in interface.inputs.values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  " + "  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in rows]
    return "\n".join([f"Inputs of {interface.ref}:", *lines])


def shown(value: object) -> str:
    """Return a value as one would type it, cut short if it is long."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = one_line(text)
    return f"{text[:37]}..." if len(text) > 40 else text or '""'


def _default(field: InputField) -> str:
    if field.required:
        return "required"
    value = field.schema.get("default")
    return "" if value is None else shown(value)
