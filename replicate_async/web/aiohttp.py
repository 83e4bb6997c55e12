"""Responses for aiohttp.web.

    async def story(request: web.Request) -> web.StreamResponse:
        return await send_sse(request, client.stream("owner/name", {"prompt": "Hi"}))

Each function owns its stream: it enters it, and closes it on every way out. It notices within a
second that the browser has disconnected; closing the stream then cancels the prediction if its
``on_exit`` says so. ``handler_cancellation=True`` is not needed. When the stream cannot be entered,
such as for a wrong input, the answer is an error status with the ``detail`` as JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final

from aiohttp import web

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

__all__ = ["send_sse", "send_text", "send_ui_message"]

_LOOK_EVERY: Final = 0.4
"""Seconds between looks at whether the browser is there: aiohttp does not tell a handler."""

_PING: Final = 15.0
_SEND_TIMEOUT: Final = 60.0
_Encode = Callable[[EventStream], AsyncGenerator[bytes, None]]


async def send_sse(
    request: web.Request,
    stream: EventStream,
    *,
    resume: ResumePoint | None = None,
    ping: float | None = _PING,
    logs: bool = False,
    error_message: ErrorMessage = public_message,
    shutdown: StreamShutdown | None = None,
    send_timeout: float | None = _SEND_TIMEOUT,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with server-sent events.

    With a *resume* that is finished, the answer is a 204, which keeps an ``EventSource`` from
    reconnecting, and the stream is not entered.

    Args:
        request: The request that is answered.
        stream: A stream that is not entered yet, from ``client.stream`` or `Viewers.stream`.
        resume: Where the browser left off, from `resume_point`.
        ping: Seconds of silence before a comment keeps the connection open; None for never.
        logs: Send ``logs`` events too. Logs may hold what users should not see.
        error_message: Returns the ``detail`` for an error.
        shutdown: Ends the response when the server stops.
        send_timeout: Seconds that the browser may not read before the stream is closed; None for
            any time.
        headers: More headers.
    """
    if resume is not None and resume.finished:
        await stream.aclose()
        return web.Response(status=204)
    encode = partial(
        to_sse,
        ping=ping,
        resume=resume,
        logs=logs,
        error_message=error_message,
        shutdown=shutdown,
    )
    return await _send(request, stream, encode, {**SSE_HEADERS, **(headers or {})}, send_timeout)


async def send_text(
    request: web.Request,
    stream: EventStream,
    *,
    shutdown: StreamShutdown | None = None,
    send_timeout: float | None = _SEND_TIMEOUT,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with the text of the output; see `to_text`.

    Args:
        request: The request that is answered.
        stream: A stream that is not entered yet.
        shutdown: Breaks the response off when the server stops.
        send_timeout: Seconds that the browser may not read before the stream is closed; None for
            any time.
        headers: More headers.
    """
    encode = partial(to_text, shutdown=shutdown)
    return await _send(request, stream, encode, {**TEXT_HEADERS, **(headers or {})}, send_timeout)


async def send_ui_message(
    request: web.Request,
    stream: EventStream,
    *,
    ping: float | None = _PING,
    message_id: str | None = None,
    logs: bool = False,
    error_message: ErrorMessage = public_message,
    shutdown: StreamShutdown | None = None,
    send_timeout: float | None = _SEND_TIMEOUT,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer React's ``useChat``.

    Args:
        request: The request that is answered.
        stream: A stream that is not entered yet.
        ping: Seconds of silence before a comment keeps the connection open; None for never.
        message_id: The id of the message; by default that of the prediction.
        logs: Send the logs too, as transient ``data-logs`` parts.
        error_message: Returns the text of the error part for an error.
        shutdown: Ends the message with an error part when the server stops.
        send_timeout: Seconds that the browser may not read before the stream is closed; None for
            any time.
        headers: More headers.
    """
    encode = partial(
        to_ui_message_stream,
        ping=ping,
        message_id=message_id,
        logs=logs,
        error_message=error_message,
        shutdown=shutdown,
    )
    all_headers = {**UI_MESSAGE_STREAM_HEADERS, **(headers or {})}
    return await _send(request, stream, encode, all_headers, send_timeout)


async def _send(
    request: web.Request,
    stream: EventStream,
    encode: _Encode,
    headers: Mapping[str, str],
    send_timeout: float | None,
) -> web.StreamResponse:
    if send_timeout is not None:
        check_seconds("send_timeout", send_timeout)
    response = web.StreamResponse(headers=headers)
    if request.method == "HEAD":
        # `add_get` routes it here, and it must not run a model.
        await response.prepare(request)
        return response
    refusals: list[web.Response] = []

    async def serve() -> None:
        try:
            await enter(stream)
        except ReplicateError as error:
            refusals.append(_refusal(error))
            return
        try:
            await response.prepare(request)
            async with aclosing(encode(stream)) as pieces:
                async for piece in pieces:
                    async with asyncio.timeout(send_timeout):
                        await response.write(piece)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # aiohttp would wait until the browser reads
        except OSError:
            return  # the browser has disconnected

    try:
        await run_until_disconnect(_disconnect(request), serve())
    finally:
        await stream.aclose()
    return refusals[0] if refusals else response


def _refusal(error: ReplicateError) -> web.Response:
    return web.json_response(
        {"detail": public_message(error)}, status=error_status(error), headers=error_headers(error)
    )


async def _disconnect(request: web.Request) -> None:
    while (transport := request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110 - no event
        await asyncio.sleep(_LOOK_EVERY)
