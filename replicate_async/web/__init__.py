"""From a stream to a browser, in whatever web framework.

    async with client.stream("owner/name", {"prompt": "Hi"}) as stream:
        async for piece in to_sse(stream):
            ...  # write it, with SSE_HEADERS

`replicate_async.web.starlette` and `replicate_async.web.aiohttp` have whole responses, which also
notice when the browser goes away. Nothing here imports a web framework.
"""

from __future__ import annotations

from replicate_async.web.audience import Audience, FollowedStream
from replicate_async.web.failure import error_headers, error_status, public_message
from replicate_async.web.feed import EventStream
from replicate_async.web.relay import Explain
from replicate_async.web.request_check import LOCAL_HOSTS, RequestRefusal, request_refusal
from replicate_async.web.resume import ResumePoint, resume_point
from replicate_async.web.sse import SSE_HEADERS, to_sse
from replicate_async.web.text import TEXT_HEADERS, to_text
from replicate_async.web.ui_message import UI_MESSAGE_STREAM_HEADERS, to_ui_message_stream

__all__ = [
    "LOCAL_HOSTS",
    "SSE_HEADERS",
    "TEXT_HEADERS",
    "UI_MESSAGE_STREAM_HEADERS",
    "Audience",
    "EventStream",
    "Explain",
    "FollowedStream",
    "RequestRefusal",
    "ResumePoint",
    "error_headers",
    "error_status",
    "public_message",
    "request_refusal",
    "resume_point",
    "to_sse",
    "to_text",
    "to_ui_message_stream",
]
