"""Ending open streams when the server stops."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, Self

from replicate_async.arguments import check_seconds
from replicate_async.web.read_ahead import ReadAhead

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_Handler = Callable[[int, FrameType | None], object]


class StreamShutdown:
    """Ends the streams that were given it when the server stops.

    A server waits for its open responses before it stops, and neither ASGI nor aiohttp tells an
    open response of it. Pass one object to all responses or encoders, and enter it in the lifespan
    of the application: then SIGTERM and SIGINT call `stop`, and after it the handler of the server.
    Without signals, or in another thread than the main one, call `stop` yourself.

    A browser that reads server-sent events reconnects, and goes on where it was.

    Args:
        grace_period: Seconds that an open stream may go on after `stop`, up to a day.

    Raises:
        InvalidArgumentError: *grace_period* is out of range.
    """

    def __init__(self, *, grace_period: float = 1.0) -> None:
        check_seconds("grace_period", grace_period)
        self._grace_period = grace_period
        self._open: set[ReadAhead] = set()
        self._stopped = False
        self._ended = False
        self._handlers: dict[signal.Signals, tuple[_Handler, _Handler]] = {}

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            previous = signal.getsignal(number)
            if callable(previous):
                with suppress(ValueError):  # not the main thread
                    handler = self._before(previous, loop)
                    signal.signal(number, handler)
                    self._handlers[number] = (handler, previous)
        return self

    async def __aexit__(self, *_: object) -> None:
        for number, (handler, previous) in self._handlers.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, previous)
        self._handlers.clear()
        self._end()

    def stop(self) -> None:
        """End open streams after the grace period, and new ones when that is over."""
        if not self._stopped:
            self._stopped = True
            asyncio.get_running_loop().call_later(self._grace_period, self._end)

    @contextmanager
    def ends(self, events: ReadAhead) -> Generator[None]:
        """Interrupt events when the streams have to end.

        Args:
            events: The events of an open stream, as an encoder reads them.
        """
        if self._ended:
            events.interrupt()
        self._open.add(events)
        try:
            yield
        finally:
            self._open.discard(events)

    def _before(self, previous: _Handler, loop: asyncio.AbstractEventLoop) -> _Handler:
        def handle(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop)
            previous(number, frame)

        return handle

    def _end(self) -> None:
        self._ended = True
        for events in self._open:
            events.interrupt()
