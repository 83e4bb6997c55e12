"""What is due when, for thousands of entries that are put off again and again.

Entries lie in slots of a sixty-fourth of a second, unordered, so putting one in and taking it out
again costs a step in a dictionary. Only the slots are kept in order, and only the first of them is
ever looked into: the times stay exact, which a lone entry is worth.
"""

from __future__ import annotations

import heapq
import math
from typing import Final, Generic, TypeVar

__all__ = ["Timed", "Wheel"]

_SLOTS: Final = 64  # a second
_SPARE: Final = 64  # slots that may have been left empty before they are forgotten


class Timed:
    """What a wheel may hold: one wheel at a time, and once."""

    __slots__ = ("due", "slot")

    def __init__(self) -> None:
        self.due: float = math.inf
        self.slot: int | None = None


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """Entries and when each is due, which is a finite number of seconds of the caller's clock."""

    __slots__ = ("_order", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, dict[T, None]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        """How many slots are remembered."""
        return len(self._order)

    def put(self, entry: T, due: float) -> None:
        """Have *entry* due at *due*, and at no other time."""
        entry.due = due
        slot = int(due * _SLOTS)
        if slot == entry.slot:
            return
        if entry.slot is not None:
            self.drop(entry)
        entry.slot = slot
        entries = self._slots.get(slot)
        if entries is None:
            self._slots[slot] = {entry: None}
            heapq.heappush(self._order, slot)
        else:
            entries[entry] = None

    def drop(self, entry: T) -> None:
        """Have *entry* due no more."""
        slot = entry.slot
        if slot is None:
            return
        entry.slot = None
        entries = self._slots[slot]
        del entries[entry]
        if not entries:
            del self._slots[slot]
            if len(self._order) > _SPARE + 2 * len(self._slots):
                self._order = sorted(self._slots)

    def next_at(self) -> float | None:
        """Return when something is due next, or None."""
        order = self._order
        while order:
            entries = self._slots.get(order[0])
            if entries is not None:
                return min([entry.due for entry in entries])
            heapq.heappop(order)
        return None

    def take(self, now: float) -> list[T]:
        """Return what is due by *now*, roughly in order, and hold it no more."""
        taken: list[T] = []
        order, last = self._order, now * _SLOTS
        while order and order[0] <= last:
            slot = order[0]
            entries = self._slots.get(slot)
            if entries is not None:
                due = [entry for entry in entries if entry.due <= now]
                for entry in due:
                    entry.slot = None
                taken += due
                if len(due) < len(entries):
                    for entry in due:
                        del entries[entry]
                    break
                del self._slots[slot]
            heapq.heappop(order)
        return taken
