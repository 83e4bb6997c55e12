"""Events in batches: all that are ready are one batch, and a silence is an empty one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, Protocol, Self

from replicate_async.runs.streaming.events import LogsEvent, OutputEvent, StreamEvent
from replicate_async.schemas import Prediction

_MOST_WAITING: Final = 64 * 1024
"""Bytes that may wait for a slow reader, up to one event more."""
_EVENT_ITSELF: Final = 64


class EventStream(Protocol):
    """A stream that can be encoded: a `replicate_async.Stream`, or an object with its methods."""

    @property
    def prediction(self) -> Prediction:
        """The prediction; raises `ClientStateError` before the stream is entered."""
        ...

    async def __aenter__(self) -> Self:
        """Open the stream; raises what creating the prediction raises."""
        ...

    async def aclose(self) -> None:
        """Close the stream; a second call does nothing."""
        ...

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """Iterate over the events."""
        ...


class ReadAhead:
    """Buffers *events* ahead of the sender, up to 64 KiB.

    They are read in a task, so that neither a heartbeat nor a slow browser interrupts the reading;
    the task exists only while there is room for more events.
    """

    __slots__ = ("_error", "_events", "_over", "_reading", "_ready", "_some", "interrupted")

    def __init__(self, events: AsyncIterator[StreamEvent]) -> None:
        self._events = events
        self._ready: list[StreamEvent] = []
        self._some = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._over = False
        self._error: Exception | None = None
        self.interrupted: bool = False
        """Whether `interrupt` was called before the last event was read."""

    async def next(self, timeout: float | None) -> list[StreamEvent] | None:
        """Return the events that are ready, or wait for one at most *timeout* seconds.

        Returns an empty list after a silence, and None at the end. Raises the error of reading the
        events, after all events before it were returned.
        """
        if not self._ready and not self._over:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._some.wait()
        if self._ready:
            ready, self._ready = self._ready, []
            self._some.clear()
            if not self._over and self._reading is not None and self._reading.done():
                self._reading = asyncio.create_task(self._read())
            return ready
        if not self._over:
            return []
        if self._error is not None:
            raise self._error
        return None

    def interrupt(self) -> None:
        """End after the events that are ready."""
        if not self._over:
            self.interrupted = self._over = True
            self.close()
            self._some.set()

    def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        room = _MOST_WAITING
        try:
            async for event in self._events:
                self._ready.append(event)
                self._some.set()
                room -= _EVENT_ITSELF
                if isinstance(event, OutputEvent | LogsEvent):
                    room -= len(str(event.data))
                if room <= 0:
                    return
        except Exception as error:  # noqa: BLE001 - `next` raises it
            self._error = error
        except BaseException:
            self._over = True
            raise
        self._over = True
        self._some.set()
