"""Results on their way to whoever iterates over a batch: bounded, and in order when asked."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from replicate_async.runs.batch.results import BatchResult

T = TypeVar("T")


class Outbox(Generic[T]):
    """The results that were not taken yet, at most *room* of them and those under way.

    With *ordered*, results are handed over in the order of their inputs, so that no item may begin
    that is more than *room* ahead of the next one to be handed over.
    """

    def __init__(self, *, room: int, ordered: bool) -> None:
        self._room = room
        self._ordered = ordered
        self._ready: deque[BatchResult[T]] = deque()
        self._early: dict[int, BatchResult[T]] = {}
        self._next = 0
        self._closed = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()

    def __len__(self) -> int:
        return len(self._ready) + len(self._early)

    def has_space(self, index: int) -> bool:
        """Whether the item at *index* may begin."""
        if self._ordered:
            return index - self._next < self._room and len(self._ready) < self._room
        return len(self._ready) < self._room

    async def space(self) -> None:
        """Wait until a result was taken; `has_space` then says whether that is enough."""
        self._space.clear()
        await self._space.wait()

    def wake(self) -> None:
        """Let everybody who waits for space look again."""
        self._space.set()

    def put(self, result: BatchResult[T]) -> None:
        """Hand over the result of an item that had begun."""
        if not self._ordered:
            self._ready.append(result)
        else:
            self._early[result.index] = result
            while (following := self._early.pop(self._next, None)) is not None:
                self._ready.append(following)
                self._next += 1
        self._changed.set()

    def close(self, error: BaseException | None = None) -> None:
        """Say that no more will come; *error* is raised after what is there."""
        for index in sorted(self._early):
            self._ready.append(self._early.pop(index))
        self._closed, self._error = True, error
        self._changed.set()

    async def get(self) -> BatchResult[T] | None:
        """Return the next result, or None after the last; raises the error that ended it all."""
        while not self._ready:
            if self._closed:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                return None
            self._changed.clear()
            await self._changed.wait()
        result = self._ready.popleft()
        self._space.set()
        return result
