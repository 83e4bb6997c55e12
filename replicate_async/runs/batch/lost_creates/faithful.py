"""Fields that a list of predictions shows as they were sent.

The batch's own predictions show that: a list that shows a text of 100 bytes as it was sent does not
cut texts of the same field to 10 bytes. So a create with such a text is not the one shown with 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import cast

_Size = tuple[int, int]
"""The bytes of a text and 0, or the decimal places and the digits of a number."""


class FaithfulFields:
    """The longest text and the finest number of each field that a list shows as it was sent."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, type], _Size] = {}

    def add(self, shown: Mapping[str, object]) -> None:
        """Add an input that is shown as it was sent."""
        for name, value in shown.items():
            if isinstance(value, str | float):
                key, size = (name, type(value)), _size(value)
                known = self._sizes.get(key, size)
                self._sizes[key] = max(known[0], size[0]), max(known[1], size[1])

    def rule_out(self, sent: object, shown: object) -> bool:
        """Return whether the list would not show *sent*, cut or rounded, as *shown*."""
        if not isinstance(sent, dict) or not isinstance(shown, dict):
            return False
        left, right = cast("dict[str, object]", sent), cast("dict[str, object]", shown)
        return any(
            name in right and _is_cut(value, right[name]) and self._shows(name, value)
            for name, value in left.items()
        )

    def _shows(self, name: str, sent: object) -> bool:
        """Whether the list shows a field that is as long or as precise as *sent*."""
        known = self._sizes.get((name, type(sent)))
        if known is None or not isinstance(sent, str | float):
            return False
        size = _size(sent)
        return size[0] <= known[0] and size[1] <= known[1]


def _is_cut(sent: object, shown: object) -> bool:
    """Whether *shown* is *sent*, cut inside of a line, or a number that may be *sent*, rounded."""
    if isinstance(sent, str) and isinstance(shown, str):
        rest = sent[len(shown) :]
        more_lines = "\n" in rest or sent.isspace() or sent.rstrip() == shown
        return sent != shown and sent.startswith(shown) and not more_lines
    return isinstance(sent, float) and isinstance(shown, int | float) and sent != shown


def _size(value: str | float) -> _Size:
    if isinstance(value, str):
        return len(value.encode()), 0
    _, digits, exponent = Decimal(repr(value)).as_tuple()
    return (max(0, -exponent) if isinstance(exponent, int) else 0), len(digits)
