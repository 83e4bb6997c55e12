"""A timer of the running event loop, for the earliest of many times."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import Context


class LoopTimer:
    """Calls *call* with the time that was set, once, when it has come."""

    __slots__ = ("_call", "_handle", "at")

    def __init__(self, call: Callable[[float], None]) -> None:
        self._call = call
        self.at: float = math.inf
        """The time that is set, infinity if none is."""
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Call at *at*, unless an earlier time is set."""
        if at < self.at:
            self.cancel()
            self.at = at
            # An empty context: a canceled timer keeps that of its caller until it would be due.
            loop = asyncio.get_running_loop()
            self._handle = loop.call_at(at, self._fire, context=Context())

    def cancel(self) -> None:
        """Call at no time."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self.at = None, math.inf

    def _fire(self) -> None:
        at, self._handle, self.at = self.at, None, math.inf
        # Event loops call a little early; the time that was set counts as over.
        self._call(max(at, asyncio.get_running_loop().time()))
