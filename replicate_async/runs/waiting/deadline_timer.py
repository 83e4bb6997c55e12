"""One timer of an event loop for many times: it is set to the earliest."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

_EARLY: Final = 1e-3  # seconds by which a loop may call before the time


class DeadlineTimer:
    """Calls *on_time* with the time, once, at the earliest of the times that were set."""

    __slots__ = ("_loop", "_on_time", "_timer", "at")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_time: Callable[[float], None]) -> None:
        self._loop = loop
        self._on_time = on_time
        self._timer: asyncio.TimerHandle | None = None
        # Kept here, since handles of uvloop forget a time that has passed.
        self.at: float = math.inf

    def set(self, at: float) -> None:
        """Call at *at*, unless an earlier time is set."""
        if at < self.at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._due)
            self.at = at

    def cancel(self) -> None:
        """Forget the time that is set."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.at = math.inf

    def _due(self) -> None:
        now, at = self._loop.time(), self.at
        self._timer = None
        self.at = math.inf
        # The loop may call a little early: times that are due now count as passed.
        self._on_time(max(now, min(at, now + _EARLY)))
