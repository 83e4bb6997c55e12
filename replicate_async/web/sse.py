"""Server-sent events, for ``EventSource`` and other readers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from replicate_async.runs.streaming.events import (
    DoneEvent,
    ErrorEvent,
    LogsEvent,
    OutputEvent,
    StreamEvent,
)
from replicate_async.web.encode import ErrorMessage, encode_stream
from replicate_async.web.errors import public_message
from replicate_async.web.read_ahead import EventStream
from replicate_async.web.resume import ResumePoint, end_id, event_id
from replicate_async.web.shutdown import StreamShutdown

SSE_HEADERS: Final[dict[str, str]] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of a response with server-sent events: not cached, compressed or buffered on the way."""

PING: Final = ": ping\n\n"
_RECONNECT_AFTER: Final = "retry: 1000\n\n"


def to_sse(
    stream: EventStream,
    *,
    ping: float | None = 15,
    resume: ResumePoint | None = None,
    logs: bool = False,
    error_message: ErrorMessage = public_message,
    shutdown: StreamShutdown | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield the events of an entered *stream* as server-sent events, as they come.

    The events are those of the service's own streams: ``output`` has a part of the output as its
    data, ``error`` is JSON with a ``detail``, and ``done`` is JSON with the ``reason`` unless the
    run succeeded. ``done`` is always sent, also when reading the stream fails. Line ends within the
    data arrive as LF.

    Example::

        async with client.stream("owner/name", {"prompt": "Hi"}) as stream:
            async for piece in to_sse(stream):
                await response.write(piece)

    Args:
        stream: An entered stream, of ``client.stream`` or `Viewers.stream`.
        ping: Seconds of silence before a comment keeps the connection open; 15. None for never.
        resume: Where the browser left off, from `resume_point`.
        logs: Whether to send ``logs`` events too. Logs may hold what users should not see.
        error_message: Returns the ``detail`` for an error; by default `public_message`.
        shutdown: Ends the events without a ``done`` when the server stops; the browser reconnects.
    """
    encoder = _Events(stream, resume, error_message, logs=logs)
    return encode_stream(stream, encoder, ping, shutdown)


class _Events:
    def __init__(
        self,
        stream: EventStream,
        resume: ResumePoint | None,
        error_message: ErrorMessage,
        *,
        logs: bool,
    ) -> None:
        self.finished = False
        self._stream = stream
        self._error_message = error_message
        self._logs = logs
        self._sent = resume.chars_sent if resume is not None else 0
        # Without an id to go on after, the stream begins again: that much of it is known.
        self._known = self._sent if resume is not None and not resume.last_event_id else 0

    def start(self) -> str:
        return _RECONNECT_AFTER

    def ping(self) -> str:
        return PING

    def encode(self, events: Sequence[StreamEvent]) -> str:
        parts: list[str] = []
        name = self._stream.prediction.id
        for event in events:
            if isinstance(event, OutputEvent):
                data = str(event.data)
                data = self._unknown_part(data) if self._known else data
                if data:
                    self._sent += len(data)
                    place = event_id(name, self._sent, event.id)
                    parts.append(f"event: output\nid: {place}\ndata: {_lines(data)}\n\n")
            elif isinstance(event, LogsEvent):
                if self._logs and event.data:
                    place = event_id(name, self._sent, event.id)
                    parts.append(f"event: logs\nid: {place}\ndata: {_lines(event.data)}\n\n")
            elif isinstance(event, ErrorEvent):
                parts.append(_error(event.detail))
            elif isinstance(event, DoneEvent):
                parts.append(self._done(event.reason))
                break
        return "".join(parts)

    def failed(self, error: Exception) -> str:
        return _error(self._error_message(error)) + self._done("error")

    def interrupted(self) -> str:
        return ""  # no `done`: an EventSource reconnects, and goes on where it was

    def end(self) -> str:
        return "" if self.finished else self._done(None)

    def _done(self, reason: str | None) -> str:
        self.finished = True
        data = "{}" if reason is None else _json({"reason": reason})
        return f"event: done\nid: {end_id(self._stream.prediction.id)}\ndata: {data}\n\n"

    def _unknown_part(self, data: str) -> str:
        known, self._known = self._known, max(0, self._known - len(data))
        return data[known:]


def _error(detail: str) -> str:
    return f"event: error\ndata: {_json({'detail': detail})}\n\n"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _lines(data: str) -> str:
    if "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n")
    return data.replace("\n", "\ndata: ") if "\n" in data else data
