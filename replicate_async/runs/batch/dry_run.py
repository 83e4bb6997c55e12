"""Dry runs: which inputs would be created, and which are invalid; nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
from replicate_async.runs.batch.identity import fields
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.item import Outcome
from replicate_async.runs.batch.result_codec import replay

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list, tuple, set, frozenset),
    "object": (Mapping,),
}


class DryRunner:
    """Checks items in place of the `ItemRunner`."""

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._schema = schema

    async def run(self, item: Item) -> Outcome:
        """Return what the journal has of *item*, or whether its input is valid."""
        if item.keyed.fault is not None:
            return Outcome(item.result(error=item.keyed.fault))
        if item.entry.result is not None:
            kept = replay(item.entry.result)
            output = None if kept.prediction is None or kept.error else kept.prediction.output
            found = item.result(
                prediction=kept.prediction, output=output, error=kept.error, files=kept.files
            )
            return Outcome(found, replayed=True)
        if item.resumed:
            return Outcome(item.result(), replayed=True)
        try:
            problem = None if self._schema is None else validate(fields(item.input), self._schema)
        except InvalidArgumentError as error:
            return Outcome(item.result(error=error))
        if problem is not None:
            invalid = InvalidArgumentError(f"input {item.index} ({item.key}): {problem}")
            return Outcome(item.result(error=invalid))
        return Outcome(item.result(), planned=True)


def validate(given: Mapping[str, object], schema: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an input by the schema of a model, or None.

    Checks required inputs, types, choices and bounds; the API checks more.
    """
    root: Mapping[str, Any] = schema.get("components", {}).get("schemas", {})
    model_input: Mapping[str, Any] = root.get("Input", {})
    missing = [name for name in model_input.get("required", ()) if name not in given]
    if missing:
        return f"{', '.join(missing)} is required and missing."
    properties: Mapping[str, Any] = model_input.get("properties", {})
    for name, value in given.items():
        if name in properties and (wrong := _wrong(value, _resolved(properties[name], root))):
            return f"{name}={shorten(value)} {wrong}."
    return None


def _resolved(prop: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a property with what it refers to: choices stand in a schema of their own."""
    merged = dict(prop)
    references: Sequence[Mapping[str, Any]] = (*prop.get("allOf", ()), prop)
    for each in references:
        name = str(each.get("$ref", "")).rpartition("/")[2]
        merged = {**cast("Mapping[str, Any]", root.get(name, {})), **merged}
    return merged


def _wrong(value: object, prop: Mapping[str, Any]) -> str | None:
    kind = prop.get("type")
    types = _TYPES.get(kind) if isinstance(kind, str) else None
    boolean = isinstance(value, bool)
    if types is not None and (not isinstance(value, types) or (boolean and kind != "boolean")):
        return f"is no {kind}"
    if kind == "string" and isinstance(value, bool | int | float | Mapping | list):
        return "is no string"  # files are strings too, in the end
    choices = prop.get("enum")
    if isinstance(choices, list) and value not in choices:
        return f"is none of {', '.join(map(repr, cast('list[object]', choices)))}"
    if isinstance(value, int | float):
        least, most = prop.get("minimum"), prop.get("maximum")
        if least is not None and value < least:
            return f"is less than {least}"
        if most is not None and value > most:
            return f"is more than {most}"
    return None
