"""Plain text, for ``fetch`` and the command line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from replicate_async.errors import StreamError
from replicate_async.runs.streaming.events import DoneEvent, ErrorEvent, OutputEvent, StreamEvent
from replicate_async.web.encode import encode_stream
from replicate_async.web.read_ahead import EventStream
from replicate_async.web.shutdown import StreamShutdown

TEXT_HEADERS: Final[dict[str, str]] = {
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of a response with text: not cached, compressed or buffered on the way."""


def to_text(
    stream: EventStream, *, shutdown: StreamShutdown | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the output of an entered *stream* as UTF-8 text, as it comes.

    Plain text has no heartbeats and no errors. Errors are raised, so that the connection breaks off
    and the reader does not take a part for the whole text. After a cancel the text just ends.

    Args:
        stream: An entered stream, of ``client.stream`` or `Viewers.stream`.
        shutdown: Ends the text when the server stops.

    Raises:
        StreamError: The model failed.
        ConnectionAbortedError: *shutdown* ended the stream.
    """
    return encode_stream(stream, _Text(), None, shutdown)


class _Text:
    def __init__(self) -> None:
        self.finished = False
        self._failure: str | None = None

    def start(self) -> str:
        return ""

    def ping(self) -> str:
        return ""

    def encode(self, events: Sequence[StreamEvent]) -> str:
        for event in events:
            if isinstance(event, ErrorEvent):
                self._failure = event.detail
            self.finished = self.finished or isinstance(event, DoneEvent)
        return "".join(str(event.data) for event in events if isinstance(event, OutputEvent))

    def failed(self, error: Exception) -> str:
        raise error

    def interrupted(self) -> str:
        raise ConnectionAbortedError("The server stops.")

    def end(self) -> str:
        if self._failure is not None:
            raise StreamError(f"The model failed: {self._failure}")
        return ""
