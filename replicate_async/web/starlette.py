"""Responses for Starlette, FastAPI and other ASGI frameworks.

    @app.get("/story", response_class=SSEResponse)
    async def story() -> SSEResponse:
        return SSEResponse(client.stream("owner/name", {"prompt": "Hi"}))

A response owns its stream: it enters it, and closes it on every way out. It notices at once that
the browser has disconnected; closing the stream then cancels the prediction if its ``on_exit`` says
so. When the stream cannot be entered, such as for a wrong input, the answer is an error status with
the ``detail`` as JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from replicate_async.arguments import check_seconds
from replicate_async.errors import ReplicateError
from replicate_async.web.ai_sdk import UI_MESSAGE_STREAM_HEADERS, to_ui_message_stream
from replicate_async.web.disconnect import enter, run_until_disconnect
from replicate_async.web.encode import ErrorMessage
from replicate_async.web.errors import error_headers, error_status, public_message
from replicate_async.web.read_ahead import EventStream
from replicate_async.web.resume import ResumePoint
from replicate_async.web.shutdown import StreamShutdown
from replicate_async.web.sse import SSE_HEADERS, to_sse
from replicate_async.web.text import TEXT_HEADERS, to_text

try:
    from starlette.responses import JSONResponse, Response
except ImportError as _missing:
    raise ImportError("This needs Starlette: pip install starlette, or fastapi.") from _missing

if TYPE_CHECKING:
    from starlette.background import BackgroundTask
    from starlette.types import Receive, Scope, Send

__all__ = ["SSEResponse", "TextResponse", "UIMessageResponse"]

_PING: Final = 15.0
_SEND_TIMEOUT: Final = 60.0
_Encode = Callable[[EventStream], AsyncGenerator[bytes, None]]


class _StreamResponse(Response):
    """A response with the pieces of a stream, which it owns."""

    def __init__(
        self,
        stream: EventStream,
        encode: _Encode,
        headers: Mapping[str, str],
        status_code: int,
        background: BackgroundTask | None,
        send_timeout: float | None,
    ) -> None:
        if send_timeout is not None:
            check_seconds("send_timeout", send_timeout)
        # The base class would make a body and its length, which are not known yet.
        self.status_code = status_code
        self.background = background
        self.init_headers(headers)
        self._stream = stream
        self._encode = encode
        self._send_timeout = send_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if scope["method"] == "HEAD":
            # Starlette routes it like a GET, and it must not run a model.
            await self._start(send)
            await _send(send, b"", more=False)
            return
        try:
            await run_until_disconnect(_disconnect(receive), self._serve(scope, receive, send))
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
            async with asyncio.timeout(self._send_timeout):
                await self._start(send)
            async with aclosing(self._encode(self._stream)) as pieces:
                async for piece in pieces:
                    async with asyncio.timeout(self._send_timeout):
                        await _send(send, piece, more=True)
            async with asyncio.timeout(self._send_timeout):
                await _send(send, b"", more=False)
        except OSError:
            return  # the browser has disconnected, or did not read in time

    async def _start(self, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )


class SSEResponse(_StreamResponse):
    """A response with server-sent events.

    With a *resume* that is finished, the answer is a 204, which keeps an ``EventSource`` from
    reconnecting, and the stream is not entered.

    Args:
        stream: A stream that is not entered yet, from ``client.stream`` or `Viewers.stream`.
        resume: Where the browser left off, from `resume_point`.
        ping: Seconds of silence before a comment keeps the connection open; None for never.
        logs: Send ``logs`` events too. Logs may hold what users should not see.
        error_message: Returns the ``detail`` for an error.
        shutdown: Ends the response when the server stops.
        send_timeout: Seconds that the browser may not read before the stream is closed; None for
            any time.
        status_code: The status of a stream that was entered.
        headers: More headers.
        background: Runs after the response.
    """

    media_type: str = "text/event-stream"

    def __init__(
        self,
        stream: EventStream,
        *,
        resume: ResumePoint | None = None,
        ping: float | None = _PING,
        logs: bool = False,
        error_message: ErrorMessage = public_message,
        shutdown: StreamShutdown | None = None,
        send_timeout: float | None = _SEND_TIMEOUT,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        encode = partial(
            to_sse,
            ping=ping,
            resume=resume,
            logs=logs,
            error_message=error_message,
            shutdown=shutdown,
        )
        all_headers = {**SSE_HEADERS, **(headers or {})}
        super().__init__(stream, encode, all_headers, status_code, background, send_timeout)
        self._resume = resume

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if self._resume is not None and self._resume.finished:
            await self._stream.aclose()
            await Response(status_code=204)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


class TextResponse(_StreamResponse):
    """A response with the text of the output; see `to_text`.

    Args:
        stream: A stream that is not entered yet.
        shutdown: Breaks the response off when the server stops.
        send_timeout: Seconds that the browser may not read before the stream is closed; None for
            any time.
        status_code: The status of a stream that was entered.
        headers: More headers.
        background: Runs after the response.
    """

    media_type: str = "text/plain"

    def __init__(
        self,
        stream: EventStream,
        *,
        shutdown: StreamShutdown | None = None,
        send_timeout: float | None = _SEND_TIMEOUT,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        encode = partial(to_text, shutdown=shutdown)
        all_headers = {**TEXT_HEADERS, **(headers or {})}
        super().__init__(stream, encode, all_headers, status_code, background, send_timeout)


class UIMessageResponse(_StreamResponse):
    """A response to React's ``useChat``.

    Args:
        stream: A stream that is not entered yet.
        ping: Seconds of silence before a comment keeps the connection open; None for never.
        message_id: The id of the message; by default that of the prediction.
        logs: Send the logs too, as transient ``data-logs`` parts.
        error_message: Returns the text of the error part for an error.
        shutdown: Ends the message with an error part when the server stops.
        send_timeout: Seconds that the browser may not read before the stream is closed; None for
            any time.
        status_code: The status of a stream that was entered.
        headers: More headers.
        background: Runs after the response.
    """

    media_type: str = "text/event-stream"

    def __init__(
        self,
        stream: EventStream,
        *,
        ping: float | None = _PING,
        message_id: str | None = None,
        logs: bool = False,
        error_message: ErrorMessage = public_message,
        shutdown: StreamShutdown | None = None,
        send_timeout: float | None = _SEND_TIMEOUT,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        encode = partial(
            to_ui_message_stream,
            ping=ping,
            message_id=message_id,
            logs=logs,
            error_message=error_message,
            shutdown=shutdown,
        )
        all_headers = {**UI_MESSAGE_STREAM_HEADERS, **(headers or {})}
        super().__init__(stream, encode, all_headers, status_code, background, send_timeout)


async def _send(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # the rest of the request's body
