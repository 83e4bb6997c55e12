"""Walks over JSON values: objects, lists, and the leaves in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, cast

__all__ = ["Path", "leaves", "map_leaves"]

Path: TypeAlias = tuple[str | int, ...]
"""The names and indexes that lead to a leaf."""


def map_leaves(value: object, change: Callable[[object], object]) -> object:
    """Return *value* with *change* applied to each leaf."""
    if isinstance(value, dict):
        named = cast("dict[str, object]", value)
        return {name: map_leaves(each, change) for name, each in named.items()}
    if isinstance(value, list):
        return [map_leaves(each, change) for each in cast("list[object]", value)]
    return change(value)


def leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield each leaf of *value* with its path."""
    places: Iterable[tuple[str | int, object]]
    if isinstance(value, dict):
        places = cast("dict[str, object]", value).items()
    elif isinstance(value, list):
        places = enumerate(cast("list[object]", value))
    else:
        yield path, value
        return
    for place, each in places:
        yield from leaves(each, (*path, place))
