"""A set of digests in 12 to 24 bytes each; a `set` takes 70 to 100."""

from __future__ import annotations

from array import array
from typing import Final

_SMALLEST: Final = 1 << 10


class DigestSet:
    """A set of digests, of which it keeps 64 bits each.

    Two of a billion digests agree by chance once in 37 times; in a batch of a million, once in 37
    million batches.
    """

    __slots__ = ("_count", "_mask", "_slots")

    def __init__(self) -> None:
        self._count = 0
        self._mask = _SMALLEST - 1
        self._slots = _empty(_SMALLEST)

    def __len__(self) -> int:
        return self._count

    def add(self, digest: bytes) -> bool:
        """Add *digest* (8 bytes or more of a hash); return whether it is new."""
        value = int.from_bytes(digest[:8], "little") or 1  # 0 marks a free slot
        at = self._find(value)
        if self._slots[at]:
            return False
        self._slots[at] = value
        self._count += 1
        if 3 * self._count > 2 * len(self._slots):
            self._grow()
        return True

    def _find(self, value: int) -> int:
        """Return the slot that holds *value*, or the free one where it belongs."""
        slots, mask = self._slots, self._mask
        at = value & mask
        while slots[at] not in (0, value):
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        values = self._slots
        self._slots = _empty(2 * len(values))
        self._mask = len(self._slots) - 1
        for value in values:
            if value:
                self._slots[self._find(value)] = value


def _empty(size: int) -> array[int]:
    return array("Q", bytes(8 * size))
