"""Streams for a browser, in any web framework.

    async with client.stream("owner/name", {"prompt": "Hi"}) as stream:
        async for piece in to_sse(stream):
            ...  # write it, with SSE_HEADERS

`replicate_async.web.starlette` and `replicate_async.web.aiohttp` have responses, which also notice
that the browser has disconnected; `replicate_async.web.fastapi` has events for FastAPI's own
response. Nothing here imports a web framework.
"""

from __future__ import annotations

from replicate_async.web.ai_sdk import UI_MESSAGE_STREAM_HEADERS, to_ui_message_stream
from replicate_async.web.encode import ErrorMessage
from replicate_async.web.errors import error_headers, error_status, public_message
from replicate_async.web.read_ahead import EventStream
from replicate_async.web.request_check import LOCAL_HOSTS, RequestRefusal, request_refusal
from replicate_async.web.resume import ResumePoint, resume_point
from replicate_async.web.shutdown import StreamShutdown
from replicate_async.web.sse import SSE_HEADERS, to_sse
from replicate_async.web.text import TEXT_HEADERS, to_text
from replicate_async.web.viewers import Viewers, ViewerStream

__all__ = [
    "LOCAL_HOSTS",
    "SSE_HEADERS",
    "TEXT_HEADERS",
    "UI_MESSAGE_STREAM_HEADERS",
    "ErrorMessage",
    "EventStream",
    "RequestRefusal",
    "ResumePoint",
    "StreamShutdown",
    "ViewerStream",
    "Viewers",
    "error_headers",
    "error_status",
    "public_message",
    "request_refusal",
    "resume_point",
    "to_sse",
    "to_text",
    "to_ui_message_stream",
]
