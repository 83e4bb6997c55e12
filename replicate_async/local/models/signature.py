"""A function's signature as inputs and output of a model."""

from __future__ import annotations

import collections.abc
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

from replicate_async.interface.annotations import (
    ALLOWED,
    AnnotationError,
    Field,
    SchemaBuilder,
    is_file,
    is_record,
    members,
    peel,
    show,
    split_optional,
)
from replicate_async.interface.cog_types import plain_iterator
from replicate_async.interface.types import Concatenate, Schema, Weights
from replicate_async.local.models.backend import OutputKind

ITERATORS: Final = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


@dataclass(frozen=True)
class Signature:
    """The inputs and the output of a function."""

    parameters: tuple[Field, ...]
    weights: str | None
    """The name of the parameter that takes the version's weights."""
    output: Schema
    is_iterator: bool
    item: Any
    """The annotation of the output, or of one item if it is an iterator."""
    struct: tuple[str, type[Any]] | None = None
    """The parameter that takes all inputs at once, and its Struct."""


def read_signature(
    function: Callable[..., object], builder: SchemaBuilder, *, returns: bool = True
) -> Signature:
    """Read the annotations of *function*; its components are added to *builder*.

    Without *returns* the return annotation is ignored, as for a training.

    Raises `AnnotationError`, which names the parameter and says what is allowed.
    """
    name = function_name(function)
    hints = type_hints_of(function, name)
    parameters: list[Field] = []
    weights: str | None = None
    for parameter in inspect.signature(function).parameters.values():
        where = f"{name}(), parameter {parameter.name!r}"
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise AnnotationError(
                f"{where}: inputs have names, so it must be an ordinary parameter"
            )
        if parameter.name not in hints:
            raise AnnotationError(f"{where}: has no annotation; allowed are {ALLOWED}")
        hint = hints[parameter.name]
        if split_optional(peel(hint)[0])[0] is Weights:
            weights = parameter.name
        else:
            default = ... if parameter.default is parameter.empty else parameter.default
            field = builder.field(
                parameter.name, hint, default, position=len(parameters), where=where
            )
            parameters.append(field)
    if not returns:
        return Signature(tuple(parameters), weights, {}, is_iterator=False, item=Any)
    return _returning(function, hints, builder, name, tuple(parameters), weights)


def function_name(function: Callable[..., object]) -> str:
    """Return the name of *function* for a message."""
    if isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def underlying(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function inside partials, decorators, bound methods and callable objects."""
    if isinstance(function, partial):
        return underlying(function.func)
    if not inspect.isroutine(function):
        return type(function).__call__
    plain: Callable[..., object] = getattr(function, "__func__", function)
    unwrapped: Callable[..., object] = inspect.unwrap(plain)
    return unwrapped


def type_hints_of(function: Callable[..., object], name: str) -> dict[str, Any]:
    """Return the annotations of *function*; raises `AnnotationError` for an unknown name."""
    target = underlying(function)
    local: dict[str, Any] = {}
    if inspect.isfunction(target):
        # A cell may be empty, such as that of a recursive function.
        with suppress(ValueError):
            local = dict(inspect.getclosurevars(target).nonlocals)
    try:
        return get_type_hints(target, localns=local or None, include_extras=True)
    except NameError as error:
        raise AnnotationError(
            f"{name}(): the annotation {error.name!r} is not known in its module; define it at the "
            f"module's top level, not inside a function or under TYPE_CHECKING"
        ) from None
    except TypeError as error:
        raise AnnotationError(f"{name}(): an annotation is not valid: {error}") from None


def _returning(
    function: Callable[..., object],
    hints: Mapping[str, Any],
    builder: SchemaBuilder,
    name: str,
    parameters: tuple[Field, ...],
    weights: str | None,
) -> Signature:
    where = f"{name}(), what it returns"
    hint = hints.get("return", NoneType)
    if hint in {NoneType, None}:
        raise AnnotationError(f"{where}: annotate it; allowed are {ALLOWED}, or an iterator of one")
    bare, notes = peel(plain_iterator(hint))
    is_iterator = (get_origin(bare) or bare) in ITERATORS
    target = underlying(function)
    if not is_iterator and (
        inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target)
    ):
        raise AnnotationError(
            f"{where}: it yields, so it must say Iterator[...], or ConcatenateIterator[str] for "
            f"text whose pieces belong together, not {show(bare)}"
        )
    item = (get_args(bare) or (str,))[0] if is_iterator else bare
    item = str if isinstance(item, TypeVar) else item
    item, _ = peel(item)
    if split_optional(item)[1] or members(item):
        raise AnnotationError(f"{where}: one type without None is allowed, not {show(item)}")
    if is_record(item) and not is_iterator:
        output = builder.record(item, where=where)
    else:
        output = builder.value(item, name="OutputChoice", where=where)
    if is_iterator:
        output = {"type": "array", "items": output, "x-cog-array-type": "iterator"}
        if any(isinstance(note, Concatenate) for note in notes):
            if item is not str:
                raise AnnotationError(f"{where}: only pieces of str can be concatenated")
            output["x-cog-array-display"] = "concatenate"
    return Signature(parameters, weights, {**output, "title": "Output"}, is_iterator, item)


def output_kind(signature: Signature) -> OutputKind:
    """Return the output kind of a function."""
    if not signature.is_iterator:
        return "value"
    if is_file(signature.item):
        return "files"
    return "text" if signature.item is str else "items"


def setup_weights(model: type) -> str | None:
    """Return the name of the parameter of a class's `setup` that takes weights.

    Raises `AnnotationError` for another required parameter.
    """
    setup = getattr(model, "setup", None)
    if not inspect.isfunction(setup):
        return None
    hints = type_hints_of(setup, function_name(setup))
    found: str | None = None
    for parameter in list(inspect.signature(setup).parameters.values())[1:]:
        if split_optional(peel(hints.get(parameter.name))[0])[0] is Weights:
            found = parameter.name
        elif parameter.default is parameter.empty:
            raise AnnotationError(
                f"{function_name(setup)}(), parameter {parameter.name!r}: setup is called with "
                f"nothing but a parameter of type Weights"
            )
    return found
