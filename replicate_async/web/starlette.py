"""Responses for Starlette, FastAPI and whatever else speaks ASGI.

    @app.get("/story")
    async def story() -> SSEResponse:
        return SSEResponse(client.stream("owner/name", {"prompt": "Hi"}))

A response owns its stream: it enters it, and closes it however the exchange ends. When the browser
goes away, it does so at once, and that cancels the prediction if the stream's ``on_exit`` says so.
When the stream cannot be entered, such as for a wrong input, the answer is an error status with the
``detail`` as JSON.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from replicate_async.errors import ReplicateError
from replicate_async.web.ai_sdk import UI_MESSAGE_STREAM_HEADERS, to_ui_message_stream
from replicate_async.web.disconnect import enter, run_until_disconnect
from replicate_async.web.encode import ErrorMessage
from replicate_async.web.errors import error_headers, error_status, public_message
from replicate_async.web.read_ahead import EventStream
from replicate_async.web.resume import ResumePoint
from replicate_async.web.sse import SSE_HEADERS, to_sse
from replicate_async.web.text import TEXT_HEADERS, to_text

try:
    from starlette.responses import JSONResponse, Response
except ImportError as _missing:
    raise ImportError("This needs Starlette: pip install starlette, or fastapi.") from _missing

if TYPE_CHECKING:
    from starlette.background import BackgroundTask
    from starlette.types import Receive, Scope, Send

_PING: Final = 15.0


class _StreamResponse(Response, ABC):
    """An answer made of the pieces of a stream, which it owns."""

    own_headers: Mapping[str, str]
    """What the format needs."""

    def __init__(
        self,
        stream: EventStream,
        *,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        # Not the base class's: a body, and its length, are not known yet.
        self.status_code = 200
        self.background = background
        self.body = b""
        self.init_headers({**self.own_headers, "Content-Length": "0", **(headers or {})})
        del self.headers["Content-Length"]
        self._stream = stream

    @abstractmethod
    def pieces(self, stream: EventStream) -> AsyncGenerator[bytes, None]:
        """Encode the stream."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if scope["method"] == "HEAD":
            # Starlette's routes answer it like a GET, and it must not run a model.
            await self._start(send)
            await _send(send, b"", more=False)
            return
        try:
            await run_until_disconnect(_gone(receive), self._serve(scope, receive, send))
        finally:
            await self._stream.aclose()
        if self.background is not None:
            await self.background()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await enter(self._stream)
        except ReplicateError as error:
            refusal = JSONResponse(
                {"detail": public_message(error)},
                status_code=error_status(error),
                headers=error_headers(error),
            )
            await refusal(scope, receive, send)
            return
        try:
            await self._start(send)
            async with aclosing(self.pieces(self._stream)) as pieces:
                async for piece in pieces:
                    await _send(send, piece, more=True)
            await _send(send, b"", more=False)
        except OSError:
            return  # how some servers say that the browser went away

    async def _start(self, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )


class SSEResponse(_StreamResponse):
    """An answer with server-sent events; the options are those of `to_sse`.

    With a *resume* that is over, the answer is a 204, which keeps an ``EventSource`` from coming
    back, and the stream is not entered.
    """

    own_headers: Mapping[str, str] = SSE_HEADERS

    def __init__(
        self,
        stream: EventStream,
        *,
        resume: ResumePoint | None = None,
        ping: float | None = _PING,
        logs: bool = False,
        error_message: ErrorMessage = public_message,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        super().__init__(stream, headers=headers, background=background)
        self._resume = resume
        self._ping = ping
        self._logs = logs
        self._error_message = error_message

    def pieces(self, stream: EventStream) -> AsyncGenerator[bytes, None]:
        """Encode the stream."""
        return to_sse(
            stream,
            ping=self._ping,
            resume=self._resume,
            logs=self._logs,
            error_message=self._error_message,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if self._resume is not None and self._resume.finished:
            await self._stream.aclose()
            await Response(status_code=204)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


class TextResponse(_StreamResponse):
    """An answer with the bare text of the output; see `to_text`."""

    own_headers: Mapping[str, str] = TEXT_HEADERS

    def pieces(self, stream: EventStream) -> AsyncGenerator[bytes, None]:
        """Encode the stream."""
        return to_text(stream)


class UIMessageResponse(_StreamResponse):
    """An answer to React's ``useChat``; the options are those of `to_ui_message_stream`."""

    own_headers: Mapping[str, str] = UI_MESSAGE_STREAM_HEADERS

    def __init__(
        self,
        stream: EventStream,
        *,
        ping: float | None = _PING,
        message_id: str | None = None,
        logs: bool = False,
        error_message: ErrorMessage = public_message,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        super().__init__(stream, headers=headers, background=background)
        self._ping = ping
        self._message_id = message_id
        self._logs = logs
        self._error_message = error_message

    def pieces(self, stream: EventStream) -> AsyncGenerator[bytes, None]:
        """Encode the stream."""
        return to_ui_message_stream(
            stream,
            ping=self._ping,
            message_id=self._message_id,
            logs=self._logs,
            error_message=self._error_message,
        )


async def _send(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # what is left of the request's body
