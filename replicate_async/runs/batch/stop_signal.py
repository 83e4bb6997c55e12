"""The stop signal of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class StopSignal:
    """Tells a batch to start no new items; *on_stop* is called once, when it is set."""

    def __init__(self, on_stop: Callable[[], object]) -> None:
        self.reason: str | None = None
        self._on_stop = on_stop
        self._event = asyncio.Event()

    def set(self, reason: str) -> None:
        """Start no new items; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._event.set()
            self._on_stop()

    async def sleep(self, seconds: float) -> None:
        """Sleep until *seconds* have passed or the signal is set."""
        if seconds > 0 and self.reason is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._event.wait()
