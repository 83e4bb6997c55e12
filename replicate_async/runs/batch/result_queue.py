"""The results of a batch that were not taken yet."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from replicate_async.runs.batch.results import BatchResult

T = TypeVar("T")


class ResultQueue(Generic[T]):
    """A bounded queue of results, which with *ordered* come in the order of their inputs.

    It takes every result. The scheduler waits for room before it starts an item, so that at most
    *room* results and those of the items that run are in it.
    """

    def __init__(self, *, room: int, ordered: bool) -> None:
        self._room = room
        self._ordered = ordered
        self._ready: deque[BatchResult[T]] = deque()
        self._early: dict[int, BatchResult[T]] = {}
        self._next = 0
        self._closed = False
        self._error: BaseException | None = None
        self._added = asyncio.Event()
        self._taken = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._early)

    def has_room(self, index: int) -> bool:
        """Whether the item at *index* may start."""
        ahead = index - self._next if self._ordered else 0
        return ahead < self._room and len(self._ready) < self._room

    async def wait_for_room(self, index: int) -> None:
        """Wait until the item at *index* may start."""
        while not self.has_room(index):
            self._taken.clear()
            await self._taken.wait()

    def put(self, result: BatchResult[T]) -> None:
        """Add the result of an item."""
        if not self._ordered:
            self._ready.append(result)
        else:
            self._early[result.index] = result
            while (following := self._early.pop(self._next, None)) is not None:
                self._ready.append(following)
                self._next += 1
        self._added.set()

    def close(self, error: BaseException | None = None) -> None:
        """Add no more results; `get` raises *error* after the last one."""
        self._ready.extend(self._early.pop(index) for index in sorted(self._early))
        self._closed, self._error = True, error
        self._added.set()

    async def get(self) -> BatchResult[T] | None:
        """Return the next result, or None after the last; raises the error of `close` once."""
        while not self._ready:
            if self._closed:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                return None
            self._added.clear()
            await self._added.wait()
        result = self._ready.popleft()
        self._taken.set()
        return result
