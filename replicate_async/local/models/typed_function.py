"""Functions that stand in for a typed model: they take its Input, and return its Output."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, get_origin

from replicate_async.files.output import FileOutput
from replicate_async.interface.annotations import (
    AnnotationError,
    SchemaBuilder,
    is_record,
    peel,
    show,
)
from replicate_async.interface.cog_types import plain_iterator
from replicate_async.interface.types import OutputFile, Schema
from replicate_async.local.models.signature import (
    ITERATORS,
    Signature,
    function_name,
    type_hints_of,
    underlying,
)
from replicate_async.typed import TypedModel

TYPES: Final[dict[Any, Schema]] = {Any: {}, FileOutput: {"type": "string", "format": "uri"}}
"""Schemas of annotations that generated types have, and functions do not."""


def read_typed_signature(
    function: Callable[..., object], model: TypedModel[Any, Any], builder: SchemaBuilder
) -> Signature:
    """Return the inputs and the output of *model*, as *function* takes and returns them.

    Raises `AnnotationError` for a function that takes anything but the model's Input.
    """
    name = function_name(function)
    try:
        hints = type_hints_of(function, name)
    except AnnotationError:
        hints = {}  # they name modules that only the function around it has imported
    parameters = list(inspect.signature(function).parameters.values())
    struct = model.input_type
    taken = [hints.get(parameter.name, struct) for parameter in parameters]
    if len(taken) != 1 or taken[0] not in (struct, object, Any):
        raise AnnotationError(
            f"{name}(): it takes {', '.join(map(show, taken)) or 'nothing'}; a function for "
            f"{model.ref} takes one parameter, of type {struct.__module__}.{struct.__qualname__}"
        )
    fields = builder.fields(struct, where=f"{struct.__module__}.{struct.__qualname__}")
    returned, _ = peel(plain_iterator(hints.get("return")))
    target = underlying(function)
    yields = inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target)
    iterates = yields or (get_origin(returned) or returned) in ITERATORS
    output = _output(model, builder, f"{name}(), what it returns", iterates=iterates)
    item = _item_of(output["items"]) if iterates else Any
    return Signature(fields, None, output, iterates, item, (parameters[0].name, struct))


def _item_of(schema: Schema) -> Any:
    if schema.get("format") == "uri":
        return OutputFile
    return str if schema.get("type") == "string" else Any


def _output(
    model: TypedModel[Any, Any], builder: SchemaBuilder, where: str, *, iterates: bool
) -> Schema:
    hint = model.output_type
    if is_record(hint):
        schema = builder.record(hint, where=where)
    else:
        schema = builder.value(hint, name="OutputChoice", where=where)
    if iterates:
        if hint is str:
            schema = {"type": "array", "items": schema, "x-cog-array-display": "concatenate"}
        if schema.get("type", "array") != "array":
            raise AnnotationError(
                f"{where}: it yields, and the output of {model.ref} is {show(hint)}"
            )
        schema |= {"type": "array", "x-cog-array-type": "iterator"}
        schema.setdefault("items", {})
    return {**schema, "title": "Output"}
