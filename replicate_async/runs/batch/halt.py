"""The wish that a batch begins nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Halt:
    """Why nothing more is begun, once that is so; *wake* is called then."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.reason: str | None = None
        self._wake = wake
        self._event = asyncio.Event()

    def __call__(self, reason: str) -> None:
        """Begin nothing more; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._event.set()
            self._wake()

    async def sleep(self, seconds: float) -> None:
        """Let *seconds* pass, or fewer when the batch is halted meanwhile."""
        if seconds > 0 and self.reason is None:
            try:
                async with asyncio.timeout(seconds):
                    await self._event.wait()
            except TimeoutError:
                pass
