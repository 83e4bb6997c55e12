"""Answers for aiohttp.web.

    async def story(request: web.Request) -> web.StreamResponse:
        return await send_sse(request, client.stream("owner/name", {"prompt": "Hi"}))

Each owns its stream: it enters it, and closes it however the exchange ends. When the browser goes
away, it does so within a second, and that cancels the prediction if the stream's ``on_exit`` says
so; ``handler_cancellation=True`` is not needed. When the stream cannot be entered, such as for a
wrong input, the answer is an error status with the ``detail`` as JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final

from aiohttp import web

from replicate_async.errors import ReplicateError
from replicate_async.web.ai_sdk import UI_MESSAGE_STREAM_HEADERS, to_ui_message_stream
from replicate_async.web.disconnect import enter, run_until_disconnect
from replicate_async.web.encode import ErrorMessage
from replicate_async.web.errors import error_headers, error_status, public_message
from replicate_async.web.read_ahead import EventStream
from replicate_async.web.resume import ResumePoint
from replicate_async.web.sse import SSE_HEADERS, to_sse
from replicate_async.web.text import TEXT_HEADERS, to_text

_LOOK_EVERY: Final = 0.4
"""Seconds between looks at whether the browser is there: aiohttp does not tell a handler."""

_PING: Final = 15.0
_Encode = Callable[[EventStream], AsyncGenerator[bytes, None]]


async def send_sse(
    request: web.Request,
    stream: EventStream,
    *,
    resume: ResumePoint | None = None,
    ping: float | None = _PING,
    logs: bool = False,
    error_message: ErrorMessage = public_message,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with server-sent events; the options are those of `to_sse`.

    With a *resume* that is over, the answer is a 204, which keeps an ``EventSource`` from coming
    back, and the stream is not entered.
    """
    if resume is not None and resume.finished:
        await stream.aclose()
        return web.Response(status=204)
    encode = partial(to_sse, ping=ping, resume=resume, logs=logs, error_message=error_message)
    return await _send(request, stream, encode, {**SSE_HEADERS, **(headers or {})})


async def send_text(
    request: web.Request, stream: EventStream, *, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Answer with the bare text of the output; see `to_text`."""
    return await _send(request, stream, to_text, {**TEXT_HEADERS, **(headers or {})})


async def send_ui_message(
    request: web.Request,
    stream: EventStream,
    *,
    ping: float | None = _PING,
    message_id: str | None = None,
    logs: bool = False,
    error_message: ErrorMessage = public_message,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer React's ``useChat``; the options are those of `to_ui_message_stream`."""
    encode = partial(
        to_ui_message_stream,
        ping=ping,
        message_id=message_id,
        logs=logs,
        error_message=error_message,
    )
    return await _send(request, stream, encode, {**UI_MESSAGE_STREAM_HEADERS, **(headers or {})})


async def _send(
    request: web.Request, stream: EventStream, encode: _Encode, headers: Mapping[str, str]
) -> web.StreamResponse:
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
                    await response.write(piece)
        except OSError:
            return  # the browser went away

    try:
        await run_until_disconnect(_gone(request), serve())
    finally:
        await stream.aclose()
    return refusals[0] if refusals else response


def _refusal(error: ReplicateError) -> web.Response:
    return web.json_response(
        {"detail": public_message(error)}, status=error_status(error), headers=error_headers(error)
    )


async def _gone(request: web.Request) -> None:
    while (transport := request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110 - no event
        await asyncio.sleep(_LOOK_EVERY)
