"""A stream as bytes for a browser: the loop that every format shares."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from replicate_async.errors import ReplicateError
from replicate_async.runs.streaming.events import StreamEvent
from replicate_async.web.read_ahead import EventStream, ReadAhead

logger: logging.Logger = logging.getLogger("replicate_async.web")

ErrorMessage = Callable[[Exception], str]
"""Says to a user what an error means."""


class Encoding(Protocol):
    """A format: what is written for events, for a silence, and at both ends."""

    finished: bool
    """Whether the last event has been encoded."""

    def start(self) -> str:
        """Return what comes first."""
        ...

    def encode(self, events: Sequence[StreamEvent]) -> str:
        """Return *events* in this format."""
        ...

    def ping(self) -> str:
        """Return what shows that the connection lives and means nothing else."""
        ...

    def failed(self, error: Exception) -> str:
        """Return what comes last when reading raised *error*, or raise it."""
        ...

    def end(self) -> str:
        """Return what comes last."""
        ...


async def encode_stream(
    stream: EventStream, encoding: Encoding, ping: float | None
) -> AsyncGenerator[bytes, None]:
    """Yield *stream*, which has been entered, as bytes: all that is ready in one piece.

    After *ping* seconds without an event there is a heartbeat. Errors end it as *encoding* says,
    and are logged. It does not close *stream*.
    """
    feed = ReadAhead(aiter(stream))
    try:
        if opening := encoding.start():
            yield opening.encode()
        try:
            while not encoding.finished and (events := await feed.next(ping)) is not None:
                if piece := encoding.encode(events) if events else encoding.ping():
                    yield piece.encode(errors="replace")
        except Exception as error:  # noqa: BLE001 - a browser gets its words, the log the rest
            _log(stream, error)
            closing = encoding.failed(error)
        else:
            closing = encoding.end()
        if closing:
            yield closing.encode(errors="replace")
    finally:
        feed.close()


def _log(stream: EventStream, error: Exception) -> None:
    name = stream.prediction.id
    if isinstance(error, ReplicateError):
        logger.warning("the stream of %s ended with %s: %s", name, type(error).__name__, error)
    else:
        logger.error("relaying the stream of %s failed", name, exc_info=error)
