"""What falls due, earliest first: a `heapq` with lazy deletion.

Timers of the event loop are in a heap, too, whose comparisons are calls of Python functions.
"""

from __future__ import annotations

import math
import sys
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["DueHeap", "Scheduled"]

_STALE: Final = 64
"""Entries of removed items that the heap may hold besides as many as there are items."""


class Scheduled(Protocol):
    """An item of one heap."""

    due: float
    """When it is due, as was set last."""
    push_id: int
    """The push that set it; 0 for an item that is not in the heap."""


T = TypeVar("T", bound=Scheduled)


class DueHeap(Generic[T]):
    """Items by the times at which they are due."""

    __slots__ = ("_count", "_heap", "_pushes")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0
        self._pushes = 0

    def __len__(self) -> int:
        return self._count

    def push(self, item: T, due: float) -> None:
        """Schedule *item* at *due*, and at no other time."""
        if item.push_id:
            self.discard(item)
        self._count += 1
        self._pushes += 1
        item.due, item.push_id = due, self._pushes
        heappush(self._heap, (due, self._pushes, item))

    def discard(self, item: T) -> None:
        """Remove *item* if it is there."""
        if item.push_id:
            item.push_id = 0
            self._count -= 1
            if not self._count:
                self._heap.clear()
            elif len(self._heap) > 2 * self._count + _STALE:
                self._heap = [entry for entry in self._heap if entry[2].push_id == entry[1]]
                heapify(self._heap)

    def next_due(self) -> float:
        """Return the earliest due time, infinity without items."""
        heap = self._heap
        while heap and heap[0][2].push_id != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else math.inf

    def pop_due(self, now: float, limit: int = sys.maxsize) -> list[T]:
        """Remove and return the first *limit* items that are due at *now*, in order."""
        heap = self._heap
        popped: list[T] = []
        while heap and heap[0][0] <= now and limit:
            _, push_id, item = heappop(heap)
            if item.push_id == push_id:
                item.push_id = 0
                popped.append(item)
                limit -= 1
        self._count -= len(popped)
        return popped
