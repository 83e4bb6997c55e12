"""The tasks that send polls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final, TypeAlias

Job: TypeAlias = Callable[[], Awaitable[None]]

_MOST: Final = 256
"""Polls in flight: the API answers 1,000 a second, each within about a quarter of a second."""

_MOST_WAKING: Final = 8
"""Pollers that are woken together; they wake others, unless answers are there at once."""


class PollerPool:
    """Tasks that run jobs one after the other; they are started as needed, and end with `stop`."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._pollers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._waking = 0

    def submit(self, job: Job, *, first: bool = False) -> None:
        """Queue *job*, ahead of all others with *first*."""
        if first:
            self._jobs.appendleft(job)
        else:
            self._jobs.append(job)
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
        await asyncio.sleep(0)  # a factory of eager tasks starts it within `_wake`
        self._waking -= 1
        while poller in self._pollers:
            if self._jobs:
                job = self._jobs.popleft()
                self._wake()
                await job()
            else:
                idle = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                await idle
                self._waking -= 1
