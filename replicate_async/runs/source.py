"""Events over as many connections as it takes.

`EventSource` knows server-sent events and nothing of predictions; `runs/stream.py` gives the
events meaning, and decides what to do when reconnecting leads nowhere.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, time
from typing import Final, Protocol

from replicate_async.core import problem as problems
from replicate_async.core.sse import Event, EventTooLarge, Parser
from replicate_async.errors import (
    APIConnectionError,
    APITimeoutError,
    StreamLimitError,
    StreamResponseError,
)


class ByteStream(Protocol):
    """An answer that is read as it comes."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, their names in any case."""
        ...

    async def read(self) -> bytes:
        """Return what has come, at least one byte; empty at the end."""
        ...

    async def read_all(self, limit: int) -> bytes:
        """Return at most the first *limit* bytes of what is left."""
        ...

    def close(self) -> None:
        """Close the connection at once."""
        ...


Open = Callable[[str, str], Awaitable[ByteStream]]
"""Opens a URL, to resume after the event with an id."""

_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_BACKOFF_BASE: Final = 0.25
_BACKOFF_CAP: Final = 8.0
_LONGEST_WAIT: Final = 60.0
_IDLE: Final = 5.0
"""Seconds after which a connection that brought nothing was idle, and not broken."""
_LARGEST_BODY: Final = 64 * 1024


class EventSource:
    """The events at *url*, each once and in order.

    ``fruitless`` counts the connections in a row that broke at once and brought nothing,
    ``brought_nothing`` says whether the last one did.
    """

    __slots__ = (
        "_limit",
        "_open",
        "_opened_at",
        "_parser",
        "_pause",
        "_reconnecting",
        "_replay",
        "_seen",
        "_stream",
        "_unsorted",
        "_url",
        "brought_nothing",
        "fruitless",
    )

    def __init__(self, open_stream: Open, url: str, *, last_event_id: str, limit: int) -> None:
        self._open = open_stream
        self._url = url
        self._limit = limit
        self._parser = Parser(limit, last_event_id=last_event_id)
        self._stream: ByteStream | None = None
        self._opened_at = 0.0
        self._pause: float | None = None
        self._reconnecting = False
        self._replay = False
        self._seen: set[str] = set()
        self._unsorted: list[Event] = []
        self.fruitless = 0
        self.brought_nothing = True

    @property
    def last_event_id(self) -> str:
        """The id to resume after: that of the last event that was complete."""
        return self._parser.last_event_id

    async def read(self) -> list[Event]:
        """Return the next events, or an empty list when the connection ended.

        The next call makes another connection, after a pause. Raises `StreamResponseError` for an
        answer that is no stream, `StreamLimitError` for an event that is too large, and
        `ForeignURLError` for a URL that must not be asked.
        """
        while True:
            stream = self._stream or await self._connect()
            if stream is None:
                return []
            idle = False
            try:
                chunk = await stream.read()
            except APIConnectionError as error:
                chunk, idle = b"", isinstance(error, APITimeoutError)
            if not chunk:
                self._ended(idle=idle)
                return []
            if events := self._parse(chunk):
                return events

    def close(self) -> None:
        """Close the connection at once."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _parse(self, chunk: bytes) -> list[Event]:
        try:
            events = self._parser.feed(chunk)
        except EventTooLarge:
            self.close()
            raise StreamLimitError(
                f"An event of the stream is larger than {self._limit:,} bytes; it was not read."
            ) from None
        if self._replay:
            events = self._new(events)
        if events:
            self.fruitless = 0
            # Looked through only when a connection breaks, which few do.
            self._unsorted += events
        return events

    def _new(self, events: list[Event]) -> list[Event]:
        """Return *events* without those that the server sends once more after a reconnect."""
        for at, event in enumerate(events):
            if not event.has_id or event.id not in self._seen:
                self._replay = False
                return events[at:]
        return []

    async def _connect(self) -> ByteStream | None:
        if self._reconnecting:
            await asyncio.sleep(self._next_pause())
        self._reconnecting = True
        self._opened_at = monotonic()
        try:
            stream = await self._open(self._url, self._parser.last_event_id)
        except APIConnectionError:
            self.brought_nothing = True
            self.fruitless += 1
            return None
        content_type = stream.headers.get("Content-Type", "")
        if stream.status == 200 and _is_event_stream(content_type):
            self._stream = stream
            return stream
        try:
            await self._refused(stream, content_type)
        finally:
            stream.close()
        return None

    async def _refused(self, stream: ByteStream, content_type: str) -> None:
        """Note when to ask again, or raise the error that the answer stands for."""
        try:
            body = await stream.read_all(_LARGEST_BODY)
        except APIConnectionError:
            body = b""
        problem = problems.parse(stream.status, content_type, body)
        if stream.status in {429, 503}:
            after = problems.retry_after(stream.headers, problem, now=time())
            if after is not None and after <= _LONGEST_WAIT:
                self.fruitless += 1
                self._pause = after
                return
        if stream.status == 200:
            said = f"with {content_type or 'no content type'} instead of text/event-stream"
        else:
            said = f"{stream.status}: {problem}"
        raise StreamResponseError(
            f"The stream answered {said}.", status=stream.status, content_type=content_type
        )

    def _ended(self, *, idle: bool) -> None:
        """Close what is left of a connection, and make ready for the next."""
        self.close()
        self._parser.close()
        comment = self._parser.last_comment or ""
        idle = idle or comment.startswith("408:") or monotonic() - self._opened_at > _IDLE
        self.brought_nothing = not self._unsorted
        if self._unsorted:
            self._seen.update(event.id for event in self._unsorted if event.has_id)
            self._unsorted.clear()
            self.fruitless = 0
        elif not idle:
            self.fruitless += 1
        self._replay = bool(self._seen)

    def _next_pause(self) -> float:
        if self._pause is not None:
            pause, self._pause = self._pause, None
            return pause
        ceiling = min(_BACKOFF_CAP, math.ldexp(_BACKOFF_BASE, min(self.fruitless, 16)))
        jitter = random.random() * ceiling  # noqa: S311 - jitter is no secret
        if self._parser.retry is None:
            return max(_SHORTEST_PAUSE, jitter) if self.fruitless else jitter
        asked = min(max(self._parser.retry / 1000, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        return asked + (jitter if self.fruitless else 0.0)


def _is_event_stream(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"
