"""What a list of predictions shows as it was sent, by the batch's own predictions in it.

A list that shows one prediction with a text of 100 bytes as it was sent does not cut texts of the
same field to 10 bytes. So a create with such a text cannot be the one that is shown with 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import cast


class FaithfulFields:
    """The longest text and the finest number of each field that a list shows as it was sent."""

    def __init__(self) -> None:
        self._bytes: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._digits: dict[str, int] = {}

    def add(self, shown: Mapping[str, object]) -> None:
        """Add an input that is shown as it was sent."""
        for name, value in shown.items():
            if isinstance(value, str):
                self._bytes[name] = max(self._bytes.get(name, 0), len(value.encode()))
            elif isinstance(value, float):
                places, digits = _precision(value)
                self._places[name] = max(self._places.get(name, 0), places)
                self._digits[name] = max(self._digits.get(name, 0), digits)

    def rule_out(self, sent: object, shown: object) -> bool:
        """Return whether the list would not show *sent*, cut or rounded, as *shown*."""
        if not isinstance(sent, dict) or not isinstance(shown, dict):
            return False
        left, right = cast("dict[str, object]", sent), cast("dict[str, object]", shown)
        return any(
            name in right and self._differs(name, value, right[name])
            for name, value in left.items()
        )

    def _differs(self, name: str, sent: object, shown: object) -> bool:
        if isinstance(sent, str) and isinstance(shown, str):
            cut = sent.startswith(shown) and sent != shown
            more_lines = "\n" in sent[len(shown) :] or sent.isspace() or sent.rstrip() == shown
            return cut and not more_lines and len(sent.encode()) <= self._bytes.get(name, 0)
        if isinstance(sent, float) and isinstance(shown, int | float):
            places, digits = _precision(sent)
            shows_places = places <= self._places.get(name, -1)
            return sent != shown and shows_places and digits <= self._digits.get(name, 0)
        return False


def _precision(number: float) -> tuple[int, int]:
    """Return the decimal places of *number*, and its digits."""
    _, digits, exponent = Decimal(repr(number)).as_tuple()
    return (max(0, -exponent) if isinstance(exponent, int) else 0), len(digits)
