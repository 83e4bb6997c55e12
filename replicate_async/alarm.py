"""One timer of an event loop, for whatever is due first."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

_EARLY: Final = 1e-3  # seconds by which a loop may call before the time


class Alarm:
    """Calls *ring* with the time, at the earliest of the times that it was set to."""

    __slots__ = ("_loop", "_ring", "_timer", "at")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[float], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        # Kept here, since uvloop's handles of a time that has passed do not know it.
        self.at: float = math.inf

    def set(self, at: float) -> None:
        """Ring at *at*, unless that is to be sooner."""
        if at < self.at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._over)
            self.at = at

    def cancel(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.at = math.inf

    def _over(self) -> None:
        now, at = self._loop.time(), self.at
        self._timer = None
        self.at = math.inf
        # What is due now is taken to be, though the loop's clock may be a little behind.
        self._ring(max(now, min(at, now + _EARLY)))
