"""The tasks that send polls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from typing import Final, Generic, TypeVar

J = TypeVar("J")

_MOST: Final = 256
"""Polls in flight: the API answers 1,000 a second, each within about a quarter of a second."""

_MOST_WAKING: Final = 8
"""Pollers that are woken together; they wake others, unless answers are there at once."""


class PollerPool(Generic[J]):
    """Tasks that call *run* for queued jobs; they are started as needed, and end with `stop`.

    *run* is called with the job and the task that awaits it.
    """

    def __init__(self, run: Callable[[J, asyncio.Task[None]], Awaitable[None]]) -> None:
        self._run = run
        self._jobs: deque[J] = deque()
        self._pollers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._waking = 0

    def submit(self, job: J, *, first: bool = False) -> None:
        """Queue *job*, ahead of all others with *first*."""
        if first:
            self._jobs.appendleft(job)
        else:
            self._jobs.append(job)
        self._wake()

    def submit_all(self, jobs: Iterable[J]) -> None:
        """Queue *jobs* after all others."""
        self._jobs.extend(jobs)
        self._wake()

    def stop(self) -> None:
        """Drop the queued jobs and end all pollers, the calling one after its job."""
        self._jobs.clear()
        self._idle.clear()
        self._waking = 0
        pollers, self._pollers = self._pollers, set()
        for poller in pollers:
            if poller is not asyncio.current_task():
                poller.cancel()

    def _wake(self) -> None:
        if self._waking == _MOST_WAKING or self._waking >= len(self._jobs):
            return
        if self._idle:
            self._idle.pop().set_result(None)
        elif len(self._pollers) < _MOST:
            # An empty context: that of the caller is not about the runs of others.
            poller = asyncio.get_running_loop().create_task(self._run_jobs(), context=Context())
            self._pollers.add(poller)
            poller.add_done_callback(self._ended)
        else:
            return
        self._waking += 1

    def _ended(self, poller: asyncio.Task[None]) -> None:
        self._pollers.discard(poller)
        self._wake()
        if not poller.cancelled():
            poller.result()

    async def _run_jobs(self) -> None:
        poller = asyncio.current_task()
        assert poller is not None  # noqa: S101 - for type checkers: this is a task
        await asyncio.sleep(0)  # a factory of eager tasks starts it within `_wake`
        self._waking -= 1
        while poller in self._pollers:
            if self._jobs:
                job = self._jobs.popleft()
                if self._jobs:
                    self._wake()
                await self._run(job, poller)
            else:
                idle = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                await idle
                self._waking -= 1
