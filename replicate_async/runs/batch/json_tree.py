"""Walking over JSON values: objects, lists, and the leaves in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

__all__ = ["leaves", "map_leaves"]


def map_leaves(value: object, change: Callable[[object], object]) -> object:
    """Return *value* with *change* applied to each leaf."""
    if isinstance(value, dict):
        named = cast("dict[str, object]", value)
        return {name: map_leaves(each, change) for name, each in named.items()}
    if isinstance(value, list):
        return [map_leaves(each, change) for each in cast("list[object]", value)]
    return change(value)


def leaves(value: object) -> Iterator[object]:
    """Yield the leaves of *value*."""
    if isinstance(value, dict):
        for each in cast("dict[str, object]", value).values():
            yield from leaves(each)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            yield from leaves(each)
    else:
        yield value
