"""A limit on how long the head of a request may take, which aiohttp's server does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, cast

_HEAD_END: Final = b"\r\n\r\n"


class HeadTimeout(asyncio.Protocol):
    """Passes a connection on to *protocol*, and closes it when a head is not complete in time.

    The application calls `received` for each head. Between two requests a connection may be idle;
    the timer of the next head starts with its first byte. A pipelined byte may arrive before the
    request is answered: once a connection has sent more than the current request, the timer of
    each further head starts with the answer before it.
    """

    def __init__(self, protocol: asyncio.Protocol, seconds: float) -> None:
        self._protocol = protocol
        self._seconds = seconds
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._in_request = False
        self._pipelined = False
        self._begin()

    def _begin(self) -> None:
        """Count the bytes of the next request."""
        self._count = 0
        self._head = 0  # bytes of its head, once it is complete
        self._end = b""  # the last bytes received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer of the first head."""
        self._transport = cast("asyncio.Transport", transport)
        self._start()
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop()
        self._protocol.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass *data* on; between two requests it begins a head."""
        self._note(data)
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

    def received(self, body_size: int | None) -> Callable[[], None]:
        """Stop the timer, for a head is complete; returns the call for when it is answered.

        *body_size* is the length of the body, None when it is chunked.
        """
        self._stop()
        self._in_request = True
        return partial(self._answered, body_size)

    def _answered(self, body_size: int | None) -> None:
        self._in_request = False
        if body_size is None:
            more = self._end != _HEAD_END  # a chunked body ends so, too
        else:
            more = not self._head or self._count > self._head + body_size
        self._pipelined = self._pipelined or more
        self._begin()
        if self._pipelined:
            self._start()

    def _note(self, data: bytes) -> None:
        if not self._head and (at := (self._end + data).find(_HEAD_END)) >= 0:
            self._head = self._count - len(self._end) + at + len(_HEAD_END)
        self._count += len(data)
        self._end = (self._end + data[-len(_HEAD_END) :])[-len(_HEAD_END) :]

    def _start(self) -> None:
        self._stop()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size():  # the answer before is still being read
            self._start()
        else:
            self._transport.abort()
