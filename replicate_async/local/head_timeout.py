"""A limit on how long the head of a request may take, which aiohttp's server does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


class HeadTimeout(asyncio.Protocol):
    """Passes a connection on to *protocol*, and closes it when a head stays unfinished.

    The application calls `received` for each head. Between two requests a connection may be idle;
    the time of the next head begins with its first byte.
    """

    def __init__(self, protocol: asyncio.Protocol, seconds: float) -> None:
        self._protocol = protocol
        self._seconds = seconds
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._in_request = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time of the first head."""
        self._transport = cast("asyncio.Transport", transport)
        self._start()
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop()
        self._protocol.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass *data* on; between two requests it begins a head."""
        if not self._in_request and self._timer is None:
            self._start()
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass the end of what the client sends on."""
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Pass on that the client reads slowly."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads again."""
        self._protocol.resume_writing()

    def received(self) -> Callable[[], None]:
        """Note that a head is there; returns what to call when the request is answered."""
        self._stop()
        self._in_request = True
        return self._answered

    def _answered(self) -> None:
        self._in_request = False

    def _start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
