"""The stop signal of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from replicate_async.errors import ReplicateError
from replicate_async.runs.batch.inputs import Item


class NotStartedError(ReplicateError):
    """A create that was not sent, because the batch starts nothing more; never raised to users."""


class StopSignal:
    """Tells a batch to start no new items; *on_stop* is called once, when it is set.

    It is set when *max_predictions* have been made. Those of items that are counted may still be.
    """

    def __init__(self, on_stop: Callable[[], object], max_predictions: int | None) -> None:
        self.reason: str | None = None
        self._on_stop = on_stop
        self._event = asyncio.Event()
        self._most = max_predictions
        self._count = 0

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

    def allows(self, item: Item) -> bool:
        """Whether *item* may create; sets the signal when the number is reached."""
        if item.counted:
            return self.reason in (None, "max_predictions")
        if self._most is not None and self._count >= self._most:
            self.set("max_predictions")
        return self.reason is None

    def count(self, item: Item) -> None:
        """Count *item* as one of the predictions; raises `NotStartedError` if it may not create."""
        if not self.allows(item):
            raise NotStartedError
        self._count += not item.counted
        item.counted = True

    def discount(self, item: Item) -> None:
        """Take *item* out of the count: it gets no prediction."""
        self._count -= item.counted
        item.counted = False
