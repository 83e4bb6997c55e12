"""A stream as the events of FastAPI's own ``EventSourceResponse``.

@app.get("/story", response_class=EventSourceResponse)
async def story() -> AsyncIterable[ServerSentEvent]:
    async with client.stream("owner/name", {"prompt": "Hi"}) as stream:
        async for event in to_server_sent_events(stream):
            yield event
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from replicate_async.core.sse import Parser
from replicate_async.web.encode import ErrorMessage
from replicate_async.web.errors import public_message
from replicate_async.web.read_ahead import EventStream
from replicate_async.web.resume import ResumePoint
from replicate_async.web.shutdown import StreamShutdown
from replicate_async.web.sse import to_sse

try:
    from fastapi import __version__ as _version
    from fastapi.sse import ServerSentEvent
except ImportError as _missing:
    raise ImportError("This needs FastAPI 0.141 or later: pip install -U fastapi.") from _missing

__all__ = ["to_server_sent_events"]

# Earlier ones lose the line ends of a text that ends with one.
if tuple(map(int, _version.split(".")[:2])) < (0, 141):
    raise ImportError(f"This needs FastAPI 0.141, not {_version}: pip install -U fastapi.")

_LARGEST_EVENT = 2**31  # the events are our own


async def to_server_sent_events(
    stream: EventStream,
    *,
    resume: ResumePoint | None = None,
    logs: bool = False,
    error_message: ErrorMessage = public_message,
    shutdown: StreamShutdown | None = None,
) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield the events of an entered *stream* for FastAPI, which sends the heartbeats.

    Args:
        stream: An entered stream, of ``client.stream`` or `Viewers.stream`.
        resume: Where the browser left off, from `resume_point`.
        logs: Whether to send ``logs`` events too. Logs may hold what users should not see.
        error_message: Returns the ``detail`` for an error; by default `public_message`.
        shutdown: Ends the events without a ``done`` when the server stops; the browser reconnects.
    """
    parser = Parser(_LARGEST_EVENT)
    pieces = to_sse(
        stream,
        ping=None,
        resume=resume,
        logs=logs,
        error_message=error_message,
        shutdown=shutdown,
    )
    async with aclosing(pieces):
        async for piece in pieces:
            for event in parser.feed(piece):
                yield ServerSentEvent(
                    raw_data=event.data, event=event.event, id=event.id, retry=event.retry
                )
