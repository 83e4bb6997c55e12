"""Cog's own annotations, recognized by name: Cog need not be installed, and is never imported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin

from replicate_async.interface.types import Concatenate, InputOptions


def cog_name(kind: object) -> str:
    """Return the name of a class of Cog, such as "Secret"; empty for any other value."""
    if not isinstance(kind, type) or kind.__module__.partition(".")[0] != "cog":
        return ""
    return kind.__name__


def as_options(note: object) -> InputOptions | None:
    """Return what `Input` made, ours or Cog's; None for any other value."""
    if isinstance(note, InputOptions):
        return note
    if cog_name(type(note)) != "FieldInfo":
        return None
    given: dict[str, Any] = {
        field.name: value
        for field in fields(note)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - of a dataclass
        if (value := getattr(note, field.name)) is not None
    }
    if regex := given.pop("regex", None):
        given["pattern"] = regex
    known = {field.name for field in fields(InputOptions)}
    return InputOptions(**{name: value for name, value in given.items() if name in known})


def is_opaque(note: object) -> bool:
    """Return whether *note* is Cog's `Opaque`, which hides the fields of an object."""
    return cog_name(type(note)) == "_OpaqueMarker"


def plain_iterator(hint: Any) -> Any:
    """Return Cog's `ConcatenateIterator` as ours; any other annotation unchanged."""
    name = cog_name(get_origin(hint) or hint)
    iterators: dict[str, Any] = {
        "ConcatenateIterator": Iterator,
        "AsyncConcatenateIterator": AsyncIterator,
    }
    if name not in iterators:
        return hint
    return Annotated[iterators[name][(*get_args(hint), str)[0]], Concatenate()]
