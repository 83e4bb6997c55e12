"""The tasks that ask: few, and none when there is nothing to ask for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from typing import Final, Generic, TypeVar

from replicate_async.core.cover import Cover, Look
from replicate_async.core.schedule import Item

T = TypeVar("T", bound=Item)

_MOST: Final = 256
_MOST_PAGES: Final = 24


class Desk(Generic[T]):
    """A line of questions, and the tasks that see to it, each to one after the other.

    *single* asks for one run, *page* for a page of them. Neither raises but for a cancel.
    """

    def __init__(
        self,
        single: Callable[[T, asyncio.Task[None]], Awaitable[None]],
        page: Callable[[Cover[T], Look[T]], Awaitable[None]],
    ) -> None:
        self._single = single
        self._page = page
        self._singles: deque[T] = deque()
        self._looks: deque[tuple[Cover[T], Look[T]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._paging: set[asyncio.Task[None]] = set()

    def ask(self, item: T) -> None:
        """Put *item* into the line."""
        item.looking = True
        self._singles.append(item)

    def ask_first(self, item: T) -> None:
        """Put *item*, which has ended, before all others."""
        item.looking = True
        self._singles.appendleft(item)

    def ask_pages(self, looks: Iterable[tuple[Cover[T], Look[T]]]) -> None:
        """Put *looks* into the line."""
        self._looks.extend(looks)

    def open(self) -> None:
        """See to it that somebody works on the line."""
        if not self._singles and not self._looks:
            return
        pages = min(len(self._looks), _MOST_PAGES - len(self._paging))
        busy, idle = len(self._tasks) - len(self._idle), len(self._idle)
        # Twice as many at each turn of the loop: an answer that is there at once needs no other.
        wanted = min(len(self._singles) + pages - idle, 1 + busy - idle, _MOST - busy - idle)
        if wanted <= 0:
            return
        loop = asyncio.get_running_loop()
        for _ in range(wanted):
            # In a context of its own: what one caller's context says is not about others' runs.
            task = loop.create_task(self._work(), context=Context())
            self._tasks.add(task)
            self._idle.add(task)
            task.add_done_callback(self._over)

    def clear(self) -> None:
        """Forget what is in the line, and the pages that are under way."""
        self._singles.clear()
        self._looks.clear()
        for task in self._paging:
            if task is not asyncio.current_task():
                task.cancel()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._idle.discard(task)
        if not task.cancelled():
            task.result()
        if self._singles or self._looks:
            self.open()

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        self._idle.discard(task)
        while True:
            if self._looks and len(self._paging) < _MOST_PAGES:
                self._paging.add(task)
                try:
                    await self._page(*self._looks.popleft())
                finally:
                    self._paging.discard(task)
                # A page may name many to be asked for, which this task alone is not to do.
                self.open()
            elif self._singles:
                item = self._singles.popleft()
                if self._singles and not self._idle:
                    self.open()
                if item.active and item.looking:
                    await self._single(item, task)
            else:
                return
