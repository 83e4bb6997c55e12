"""A stream as bytes for a browser: the loop that every format shares."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import nullcontext
from typing import Final, Protocol, TypeAlias

from replicate_async.arguments import check_seconds
from replicate_async.errors import ReplicateError
from replicate_async.runs.streaming.events import StreamEvent
from replicate_async.web.read_ahead import EventStream, ReadAhead
from replicate_async.web.shutdown import StreamShutdown

logger: logging.Logger = logging.getLogger("replicate_async.web")

_SHORTEST_PING: Final = 0.01

ErrorMessage: TypeAlias = Callable[[Exception], str]
"""Returns what a user reads about an error."""


class Encoder(Protocol):
    """A format: the text for events, for a heartbeat, and for both ends."""

    finished: bool
    """Whether the last event has been encoded."""

    def start(self) -> str:
        """Return what comes first."""
        ...

    def encode(self, events: Sequence[StreamEvent]) -> str:
        """Return *events* in this format."""
        ...

    def ping(self) -> str:
        """Return a heartbeat, which readers ignore."""
        ...

    def failed(self, error: Exception) -> str:
        """Return what comes last when reading raised *error*, or raise it."""
        ...

    def interrupted(self) -> str:
        """Return what comes last when the server stops, or raise `OSError`."""
        ...

    def end(self) -> str:
        """Return what comes last."""
        ...


def encode_stream(
    stream: EventStream, encoder: Encoder, ping: float | None, shutdown: StreamShutdown | None
) -> AsyncGenerator[bytes, None]:
    """Yield *stream*, which has been entered, as bytes: all events that are ready in one piece.

    After *ping* seconds without an event there is a heartbeat. An error is logged, and encoded as
    the last piece. The stream is not closed.
    """
    if ping is not None:
        check_seconds("ping", ping, _SHORTEST_PING)
    return _encode(stream, encoder, ping, shutdown)


async def _encode(
    stream: EventStream, encoder: Encoder, ping: float | None, shutdown: StreamShutdown | None
) -> AsyncGenerator[bytes, None]:
    events = ReadAhead(aiter(stream))
    try:
        with nullcontext() if shutdown is None else shutdown.ends(events):
            if opening := encoder.start():
                yield opening.encode()
            try:
                while not encoder.finished and (ready := await events.next(ping)) is not None:
                    if piece := encoder.encode(ready) if ready else encoder.ping():
                        yield piece.encode(errors="replace")
            except Exception as error:  # noqa: BLE001 - the log has what the browser must not see
                _log(stream, error)
                closing = encoder.failed(error)
            else:
                cut = events.interrupted and not encoder.finished
                closing = encoder.interrupted() if cut else encoder.end()
            if closing:
                yield closing.encode(errors="replace")
    finally:
        events.close()


def _log(stream: EventStream, error: Exception) -> None:
    name = stream.prediction.id
    if isinstance(error, ReplicateError):
        logger.warning("the stream of %s ended with %s: %s", name, type(error).__name__, error)
    else:
        logger.error("encoding the stream of %s failed", name, exc_info=error)
