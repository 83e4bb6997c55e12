"""The results of a batch that were not taken yet."""

from __future__ import annotations

import asyncio
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
        self._results: dict[int, BatchResult[T] | None] = {}
        """By their places, which may follow those of others that are not there yet."""
        self._next = 0
        """The place of the result that is taken next."""
        self._closed = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()

    def has_room(self, index: int) -> bool:
        """Whether the item at *index* may start."""
        ahead = index - self._next if self._ordered else len(self._results)
        return ahead < self._room

    async def wait_for_room(self, index: int) -> None:
        """Wait until the item at *index* may start."""
        while not self.has_room(index):
            await self._change()

    def put(self, index: int, result: BatchResult[T] | None) -> None:
        """Add the result of the item at *index*, None if it has none."""
        self._results[index if self._ordered else self._next + len(self._results)] = result
        self._changed.set()

    def close(self, error: BaseException | None = None) -> None:
        """Add no more results; `get` raises *error* after the last one."""
        left = [self._results[place] for place in sorted(self._results)]
        self._results = dict(enumerate(left, self._next))  # without places that stay empty
        self._closed, self._error = True, error
        self._changed.set()

    async def get(self) -> BatchResult[T] | None:
        """Return the next result, or None after the last; raises the error of `close` once."""
        while True:
            if self._next in self._results:
                result = self._results.pop(self._next)
                self._next += 1
                self._changed.set()
                if result is not None:
                    return result
            elif not self._closed:
                await self._change()
            else:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                return None

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
