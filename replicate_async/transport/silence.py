"""How long servers may keep silent: one timer for all the requests of an event loop.

aiohttp sets and cancels two timers for each request, which is a tenth of what a request costs.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

import aiohttp

from replicate_async.alarm import Alarm

_LOOKS: Final = 4
"""How often a body that keeps coming is looked at within its limit."""


class Exchange:
    """A request that is on its way, until its answer is read."""

    __slots__ = ("_cancelling", "_heard_at", "_limit", "_seen", "due", "response", "silent", "task")

    def __init__(self, task: asyncio.Task[Any], limit: float, now: float) -> None:
        self.task: asyncio.Task[Any] = task
        self.response: aiohttp.ClientResponse | None = None
        """The answer, once its head is there."""
        self.due: float = now + limit
        """When to look at it."""
        self.silent: bool = False
        """Whether it was ended for its silence."""
        self._limit = limit
        self._heard_at = now
        self._seen = 0
        self._cancelling = task.cancelling()

    def connected(self, now: float) -> None:
        """Begin to count: until now it had no connection, which is not the server's doing."""
        self._heard_at = now
        self.due = now + self._limit

    def look(self, now: float) -> None:
        """Cancel the task if nothing has come for too long; else say when to look again."""
        seen = 0 if self.response is None else self.response.content.total_bytes
        if seen != self._seen:
            self._seen, self._heard_at = seen, now
        silent_until = self._heard_at + self._limit
        if now < silent_until:
            self.due = min(silent_until, now + self._limit / _LOOKS)
            return
        self.due = math.inf
        self.silent = True
        self.task.cancel()

    def ended(self) -> bool:
        """Return whether it was ended for its silence, and by nobody else at the same time."""
        return self.silent and self.task.uncancel() <= self._cancelling


class Silence:
    """Ends the exchanges of an event loop whose server keeps silent for too long."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._exchanges: dict[asyncio.Task[Any], Exchange] = {}
        self._alarm = Alarm(loop, self._look)

    def begin(self, limit: float) -> Exchange:
        """Watch the request that the current task is about to send."""
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - only tasks send requests
        exchange = self._exchanges[task] = Exchange(task, limit, self._loop.time())
        if exchange.due < self._alarm.at:
            self._alarm.set(exchange.due)
        return exchange

    def end(self, exchange: Exchange) -> None:
        """Watch it no longer."""
        del self._exchanges[exchange.task]

    def connecting(self) -> None:
        """Let the current task take its time: it has no connection yet."""
        if exchange := self._current():
            exchange.due = math.inf

    def connected(self) -> None:
        """Begin to count for the current task."""
        if exchange := self._current():
            exchange.connected(self._loop.time())
            self._alarm.set(exchange.due)

    def _current(self) -> Exchange | None:
        task = asyncio.current_task(self._loop)
        return None if task is None else self._exchanges.get(task)

    def _look(self, now: float) -> None:
        for exchange in self._exchanges.values():
            if exchange.due <= now:
                exchange.look(now)
        self._alarm.set(min((it.due for it in self._exchanges.values()), default=math.inf))
