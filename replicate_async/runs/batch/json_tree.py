"""Walks over JSON values: objects, lists, and the leaves in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

__all__ = ["leaves", "map_leaves", "pairs"]


def map_leaves(value: object, change: Callable[[object], object]) -> object:
    """Return *value* with *change* applied to each leaf."""
    if isinstance(value, dict):
        named = cast("dict[str, object]", value)
        return {name: map_leaves(each, change) for name, each in named.items()}
    if isinstance(value, list):
        return [map_leaves(each, change) for each in cast("list[object]", value)]
    return change(value)


def leaves(value: object) -> list[object]:
    """Return the leaves of *value*."""
    found: list[object] = []
    map_leaves(value, found.append)
    return found


def pairs(left: object, right: object) -> Iterator[tuple[object, object]]:
    """Yield both values, and then the pair of values in each place that both have."""
    yield left, right
    if isinstance(left, dict) and isinstance(right, dict):
        one, other = cast("dict[str, object]", left), cast("dict[str, object]", right)
        for name, value in one.items():
            if name in other:
                yield from pairs(value, other[name])
    elif isinstance(left, list) and isinstance(right, list):
        both = zip(cast("list[object]", left), cast("list[object]", right), strict=False)
        for pair in both:
            yield from pairs(*pair)
