"""Server-sent events over a connection that is reopened when it breaks.

`EventSource` knows nothing of predictions. `StreamReader` gives the events their meaning, and
decides what to do when reconnecting brings nothing.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from replicate_async.core import problem as problems
from replicate_async.core.backoff import backoff
from replicate_async.core.sse import Event, EventTooLarge, Outputs, Parser, Received
from replicate_async.errors import (
    APIConnectionError,
    APITimeoutError,
    StreamLimitError,
    StreamResponseError,
    TLSError,
)

Sleep = Callable[[float], Awaitable[object]]
"""`asyncio.sleep`, or a clock of a test."""


class ByteStream(Protocol):
    """The body of an answer, read as it arrives."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by case-insensitive name."""
        ...

    @property
    def limit(self) -> float:
        """Seconds without a byte after which a read fails."""
        ...

    async def read(self) -> bytes:
        """Return the bytes that have arrived, at least one; empty at the end."""
        ...

    async def read_all(self, limit: int) -> bytes:
        """Return at most *limit* bytes of the rest."""
        ...

    def close(self) -> None:
        """Close the connection at once."""
        ...


Open = Callable[[str, str], Awaitable[ByteStream]]
"""Opens a URL, with the id after which the events resume."""

LARGEST_EVENT: Final = 16 * 1024 * 1024
"""Bytes that one event may have."""

_CHUNK: Final = 16 * 1024
"""Bytes that are parsed at a time; the events of more would not fit into a processor's cache."""
_EMPTY: Final = memoryview(b"")
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_BACKOFF_BASE: Final = 0.25
_BACKOFF_CAP: Final = 8.0
_LONGEST_RETRY_AFTER: Final = 60.0
_IDLE: Final = 5.0
"""Seconds after which a connection without events counts as idle, not as broken."""
_LARGEST_BODY: Final = 64 * 1024
_PROGRESS: Final = frozenset({"output", "logs", "error", "done"})
"""Events that show that the run goes on; others, such as a ping, may come forever."""


def pause_before(empty: int, retry: int | None, jitter: float) -> float:
    """Return the seconds before the next connection, after *empty* ones without output.

    *retry* is the pause in milliseconds that the server asked for; *jitter* is in [0, 1).
    """
    pause = backoff(empty + 1, base=_BACKOFF_BASE, cap=_BACKOFF_CAP, jitter=jitter)
    if retry is not None:
        asked = min(max(retry / 1000, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        return asked + pause if empty else asked
    return max(_SHORTEST_PAUSE, pause) if empty else pause


def can_be_sent(event_id: object) -> bool:
    """Return whether *event_id* may stand in a header."""
    return isinstance(event_id, str) and all(char >= " " and char != "\x7f" for char in event_id)


class EventSource:
    """The events at *url*, each once and in order, over as many connections as it takes.

    `progressed`: whether the last connection brought new output.
    `failures`: how many connections since then broke without a new event.
    `check_due`: whether the prediction must be fetched, since the server sends bytes but no event
    of the run for as long as a read may be silent. `read` returns nothing until `checked` is
    called.
    """

    def __init__(
        self,
        open_stream: Open,
        url: str,
        *,
        last_event_id: str,
        limit: int = LARGEST_EVENT,
        clock: Callable[[], float] | None = None,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._open = open_stream
        self._url = url
        self._limit = limit
        self._clock: Callable[[], float] = clock or asyncio.get_running_loop().time
        self._sleep = sleep
        self._jitter = jitter
        self._parser = Parser(limit, last_event_id=last_event_id)
        self._stream: ByteStream | None = None
        self._unread = _EMPTY  # the rest of a large chunk
        self._opened_at: float | None = None
        self._retry_after = 0.0
        self._accepted = False  # whether the server has sent a stream before
        self._empty = 0  # connections in a row without output
        self._replayed: set[int] | None = None
        self._dropped: set[int] = set()
        self._resumable = True  # until two events that the server repeats have one id
        self._advanced = False  # whether the last connection brought a new event
        # None while events of the run arrive: the clock is not read for each of them.
        self._quiet_since: float | None = None
        self._checked_at = -math.inf
        self.failures: int = 0
        self.progressed: bool = False
        self.check_due: bool = False

    async def read(self) -> Received:
        """Return the next events; none when the caller should decide how to go on.

        That is after a connection has ended, and when `check_due`. The next call reconnects after
        a pause. Raises `StreamResponseError` for an answer that is not a stream, `StreamLimitError`
        for an event that is too large, and `TLSError`.
        """
        while not self.check_due:
            stream = self._stream or (await self._connect() if self._resumable else None)
            if stream is None:
                return []
            if self._parser.failed:
                self._parse(b"")
            if self._unread:
                if events := self._parse(self._next_chunk()):
                    return events
                continue
            try:
                chunk = await stream.read()
            except APIConnectionError as error:
                self.check_due = silent = isinstance(error, APITimeoutError)
                self._ended(idle=silent)
                return []
            if not chunk:
                self._ended(idle=(self._parser.last_comment or "").startswith("408:"))
                return []
            if len(chunk) > _CHUNK:
                self._unread = memoryview(chunk)
                chunk = self._next_chunk()
            if events := self._parse(chunk):
                return events
        return []

    def _next_chunk(self) -> bytes:
        chunk, self._unread = self._unread[:_CHUNK], self._unread[_CHUNK:]
        return bytes(chunk)

    def resume(self, seen: set[int]) -> bool:
        """Drop events that the server repeats: those whose id has its hash in *seen*.

        Returns false if the server cannot resume: the last id cannot be sent in a header, or two
        events that it repeated had one id, and the second may be new.
        """
        self._replayed, self._dropped = seen or None, set()
        return self._resumable and can_be_sent(self._parser.last_event_id)

    @property
    def connected(self) -> bool:
        """Whether a connection is open."""
        return self._stream is not None

    @property
    def quiet_for(self) -> float:
        """Seconds since the last event of the run."""
        return 0.0 if self._quiet_since is None else self._clock() - self._quiet_since

    def checked(self) -> None:
        """Read on: the prediction was fetched."""
        self.check_due = False
        self._checked_at = self._clock()

    def close(self) -> None:
        """Close the connection at once."""
        self._unread = _EMPTY
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _parse(self, chunk: bytes) -> Received:
        try:
            events = self._parser.take(chunk)
        except EventTooLarge:
            self.close()
            raise StreamLimitError(
                f"An event of the stream is larger than {self._limit:,} bytes; it was not read."
            ) from None
        if self._replayed is not None:
            events = events.events() if isinstance(events, Outputs) else events
            events = self._new(events, self._replayed)
        # Inline, since each event of a stream comes by here.
        output = type(events) is Outputs and events.parts[-1]
        if not output or not self.progressed or self._quiet_since is not None:
            self._note(events)
        return events

    def _note(self, events: Received) -> None:
        """Update the progress of the run; without any, see whether a check is due."""
        if events:
            if isinstance(events, Outputs):
                output = progress = any(events.parts)
                self._advanced = True
            else:
                names = [event.event for event in events if event.data]
                output, progress = "output" in names, not _PROGRESS.isdisjoint(names)
                self._advanced = self._advanced or any(event.has_id for event in events)
            if output and not self.progressed:
                self.progressed = True
                self.failures = self._empty = 0
            if progress:
                self._quiet_since = None
                return
        now = self._clock()
        if self._quiet_since is None:
            self._quiet_since = now
        limit = math.inf if self._stream is None else self._stream.limit
        self.check_due = now - max(self._quiet_since, self._checked_at) >= limit

    def _new(self, events: list[Event], replayed: set[int]) -> list[Event]:
        """Return *events* without those that the server repeats after a reconnect."""
        new: list[Event] = []
        for index, event in enumerate(events):
            if not event.has_id:
                new.append(event)
            elif hash(event.id) not in replayed:
                self._replayed = None
                return new + events[index:]
            elif hash(event.id) in self._dropped:
                self._resumable = False
                self.close()
                return new
            else:
                self._dropped.add(hash(event.id))
        return new

    async def _connect(self) -> ByteStream | None:
        if self._opened_at is not None:
            pause = pause_before(self._empty, self._parser.retry, self._jitter())
            pause, self._retry_after = max(pause, self._retry_after), 0.0
            await self._sleep(pause)
        self.progressed = self._advanced = False
        self._parser.last_comment = None
        self._opened_at = self._clock()
        try:
            stream = await self._open(self._url, self._parser.last_event_id)
        except TLSError:
            raise
        except APIConnectionError:
            self._ended(idle=False)
            return None
        content_type = stream.headers.get("Content-Type", "")
        media_type = content_type.partition(";")[0].strip().lower()
        if stream.status == 200 and media_type == "text/event-stream":
            self._accepted = True
            self._stream = stream
            return stream
        try:
            await self._refused(stream, content_type)
        finally:
            stream.close()
        return None

    async def _refused(self, stream: ByteStream, content_type: str) -> None:
        """Note when to reconnect, or raise the error for the answer.

        The client reconnects when the server says so (Retry-After), and when it has sent a stream
        before: it may be restarting.
        """
        try:
            async with asyncio.timeout(stream.limit):
                body = await stream.read_all(_LARGEST_BODY)
        except (APIConnectionError, TimeoutError):
            body = b""
        problem = problems.parse(stream.status, content_type, body)
        if stream.status == 429 or stream.status >= 500:
            after = problems.retry_after(stream.headers, problem, now=time.time())
            if after is None and self._accepted:
                after = 0.0
            if after is not None and after <= _LONGEST_RETRY_AFTER:
                self._ended(idle=False)
                self._retry_after = after
                return
        if stream.status == 200:
            answer = f"with {content_type or 'no content type'} instead of text/event-stream"
        else:
            answer = f"{stream.status}: {problem}"
        raise StreamResponseError(
            f"The stream answered {answer}.", status=stream.status, content_type=content_type
        )

    def _ended(self, *, idle: bool) -> None:
        """Close the connection, and count it."""
        self.close()
        self._parser.close()
        now = self._clock()
        if self._quiet_since is None:
            self._quiet_since = now
        lasted = self._opened_at is not None and now - self._opened_at > _IDLE
        if not self.progressed:
            self._empty = 0 if lasted else self._empty + 1
            # A new event without output shows a working server, but not a run that goes on.
            if not (idle or lasted or self._advanced):
                self.failures += 1
