"""Server-sent events, for ``EventSource`` and everything else that reads them."""

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
from replicate_async.web.failure import public_message
from replicate_async.web.feed import EventStream
from replicate_async.web.relay import Explain, relay
from replicate_async.web.resume import ResumePoint, end_id, event_id

SSE_HEADERS: Final[dict[str, str]] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of an answer with server-sent events: not cached, compressed or held back on the way."""

PING: Final = ": ping\n\n"
_RECONNECT_AFTER: Final = "retry: 1000\n\n"


def to_sse(
    stream: EventStream,
    *,
    ping: float | None = 15,
    resume: ResumePoint | None = None,
    logs: bool = False,
    explain: Explain = public_message,
) -> AsyncGenerator[bytes, None]:
    """Yield the events of an entered *stream* as server-sent events, as they come.

    ``output`` has a part of the output as its data, ``error`` is JSON with a ``detail`` and
    ``done`` JSON with the ``reason`` if it was no success, as the service's own streams have them;
    ``logs`` are left out unless *logs*, for they may hold what users should not see. Every event
    has an id for `resume_point`; pass what that returns as *resume*. A ``done`` comes always, also
    when reading the stream fails: *explain* puts the error into words. Line ends within the data
    arrive as LF. *ping* is the seconds of silence before a comment keeps the connection open.
    """
    return relay(stream, _Events(stream, resume, explain, logs=logs), ping)


class _Events:
    def __init__(
        self, stream: EventStream, resume: ResumePoint | None, explain: Explain, *, logs: bool
    ) -> None:
        self.over = False
        self._stream = stream
        self._explain = explain
        self._logs = logs
        self._sent = resume.sent if resume is not None else 0
        # Without an id to go on after, the stream begins anew: that much of it is known.
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
        return _error(self._explain(error)) + self._done("error")

    def end(self) -> str:
        return "" if self.over else self._done(None)

    def _done(self, reason: str | None) -> str:
        self.over = True
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
