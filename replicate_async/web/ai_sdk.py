"""The UI message stream of the AI SDK, version 1, which React's ``useChat`` reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from mimetypes import guess_type
from typing import Final
from urllib.parse import urlsplit

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
from replicate_async.web.shutdown import StreamShutdown
from replicate_async.web.sse import PING, SSE_HEADERS

UI_MESSAGE_STREAM_HEADERS: Final[dict[str, str]] = {
    **SSE_HEADERS,
    "x-vercel-ai-ui-message-stream": "v1",
}
"""Headers of a response to ``useChat``; the last one names the protocol."""

_TEXT_ID: Final = "text"
_DONE: Final = "data: [DONE]\n\n"


def to_ui_message_stream(
    stream: EventStream,
    *,
    ping: float | None = 15,
    message_id: str | None = None,
    logs: bool = False,
    error_message: ErrorMessage = public_message,
    shutdown: StreamShutdown | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield an entered *stream* as a message for ``useChat``, as it comes.

    Text comes as deltas (all that is ready in one), files as file parts.

    Args:
        stream: An entered stream, of ``client.stream`` or `Viewers.stream`.
        ping: Seconds of silence before a comment keeps the connection open; 15. None for never.
        message_id: The id of the message; by default that of the prediction.
        logs: Whether to send the logs too, as transient ``data-logs`` parts.
        error_message: Returns the text of the error part; by default `public_message`.
        shutdown: Ends the message with an error part when the server stops.
    """
    encoder = _Message(stream, message_id, error_message, logs=logs)
    return encode_stream(stream, encoder, ping, shutdown)


class _Message:
    def __init__(
        self,
        stream: EventStream,
        message_id: str | None,
        error_message: ErrorMessage,
        *,
        logs: bool,
    ) -> None:
        self.finished = False
        prediction = stream.prediction
        self._id = message_id or prediction.id
        self._files = urlsplit(prediction.urls.stream or "").path.startswith("/v1/files/")
        self._error_message = error_message
        self._logs = logs
        self._in_text = False
        self._failed = False
        self._reason: str | None = None

    def start(self) -> str:
        return _chunk(type="start", messageId=self._id) + _chunk(type="start-step")

    def ping(self) -> str:
        return PING

    def encode(self, events: Sequence[StreamEvent]) -> str:
        parts: list[str] = []
        text: list[str] = []
        for event in events:
            # A model without a stream may have files in its output as well.
            data = event.data if isinstance(event, OutputEvent) and not self._files else None
            if isinstance(data, str):
                text.append(data)
                continue
            parts.append(self._delta("".join(text)))
            text.clear()
            parts.append(self._other(event))
        parts.append(self._delta("".join(text)))
        return "".join(parts)

    def failed(self, error: Exception) -> str:
        return self._error(self._error_message(error)) + self.end()

    def interrupted(self) -> str:
        return self._error("The server was stopped.") + self.end()

    def end(self) -> str:
        self.finished = True
        if self._failed:
            return _DONE
        if self._reason is not None:
            return f"{self._end_text()}{_chunk(type='abort')}{_DONE}"
        finish = _chunk(type="finish-step") + _chunk(type="finish", finishReason="stop")
        return f"{self._end_text()}{finish}{_DONE}"

    def _other(self, event: StreamEvent) -> str:
        if isinstance(event, OutputEvent):
            url = str(event.data)
            return _file(url) if url else ""
        if isinstance(event, LogsEvent) and self._logs:
            return _chunk(type="data-logs", data=event.data, transient=True)
        if isinstance(event, ErrorEvent):
            return self._error(event.detail)
        if isinstance(event, DoneEvent):
            self.finished = True
            self._reason = event.reason
        return ""

    def _delta(self, text: str) -> str:
        if not text:
            return ""
        opening = "" if self._in_text else _chunk(type="text-start", id=_TEXT_ID)
        self._in_text = True
        return opening + _chunk(type="text-delta", id=_TEXT_ID, delta=text)

    def _end_text(self) -> str:
        if not self._in_text:
            return ""
        self._in_text = False
        return _chunk(type="text-end", id=_TEXT_ID)

    def _error(self, words: str) -> str:
        self._failed = True
        return self._end_text() + _chunk(type="error", errorText=words)


def _file(url: str) -> str:
    if url.startswith("data:"):
        media = url[5:].partition(",")[0].partition(";")[0]
    else:
        media = guess_type(urlsplit(url).path)[0] or ""
    return _chunk(type="file", url=url, mediaType=media or "application/octet-stream")


def _chunk(**fields: object) -> str:
    return f"data: {msgspec.json.encode(fields).decode()}\n\n"
