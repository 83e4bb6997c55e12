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
    """An answer that is read as it comes."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, their names in any case."""
        ...

    @property
    def limit(self) -> float:
        """Seconds of silence after which a read fails."""
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

_PIECE: Final = 16 * 1024
"""Bytes that are parsed at a time: the events of more would not fit into a processor's cache."""
_NOTHING: Final = memoryview(b"")
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_BACKOFF_BASE: Final = 0.25
_BACKOFF_CAP: Final = 8.0
_LONGEST_WAIT: Final = 60.0
_IDLE: Final = 5.0
"""Seconds after which a connection that brought nothing was idle, and not broken."""
_LARGEST_BODY: Final = 64 * 1024
_NEWS: Final = frozenset({"output", "logs", "error", "done"})
"""Events that show that the run goes on. Others, such as a ping, may come for ever."""


def pause_before(barren: int, retry: int | None, jitter: float) -> float:
    """Return the seconds before the next connection, after *barren* ones that brought nothing.

    *retry* is the pause in milliseconds that the server asked for, *jitter* is uniform in [0, 1).
    """
    pause = backoff(barren + 1, base=_BACKOFF_BASE, cap=_BACKOFF_CAP, jitter=jitter)
    if retry is not None:
        asked = min(max(retry / 1000, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        return asked + pause if barren else asked
    return max(_SHORTEST_PAUSE, pause) if barren else pause


def can_be_sent(event_id: str) -> bool:
    """Tell whether *event_id* fits into a header."""
    return all(char >= " " and char != "\x7f" for char in event_id)


class EventSource:
    """The events at *url*, each once and in order.

    `progressed` says whether the last connection brought new output. `fruitless` counts those since
    then that broke without any new event. `look_due` says that no event with news has come for as
    long as a read may be silent, though bytes did: `read` returns nothing until `looked` is
    called.
    """

    __slots__ = (
        "_accepted",
        "_advanced",
        "_barren",
        "_clock",
        "_jitter",
        "_limit",
        "_looked_at",
        "_open",
        "_opened_at",
        "_parser",
        "_pause",
        "_quiet_since",
        "_reconnecting",
        "_replayed",
        "_sleep",
        "_stream",
        "_unread",
        "_url",
        "fruitless",
        "look_due",
        "progressed",
    )

    def __init__(
        self,
        open_stream: Open,
        url: str,
        *,
        last_event_id: str,
        limit: int,
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
        self._unread = _NOTHING  # of the chunk that came last
        self._opened_at = 0.0
        self._pause: float | None = None
        self._reconnecting = False
        self._accepted = False
        self._barren = 0
        self._replayed: set[int] | None = None
        self._advanced = False
        # None while there are news: the time is not read for each event.
        self._quiet_since: float | None = None
        self._looked_at = -math.inf
        self.fruitless: int = 0
        self.progressed: bool = False
        self.look_due: bool = False

    async def read(self) -> Received:
        """Return the next events, or an empty list when the prediction is to be looked at.

        That is when there is no connection any more, and the next call makes another one after a
        pause, or when `look_due`. Raises `StreamResponseError` for an answer
        that is no stream, `StreamLimitError` for an event that is too large, and what opening the
        URL raises other than for a connection that failed.
        """
        while not self.look_due:
            stream = self._stream or await self._connect()
            if stream is None:
                return []
            if self._parser.failed:
                self._parse(b"")
            if self._unread:
                if events := self._parse(self._next_piece()):
                    return events
                continue
            try:
                chunk = await stream.read()
            except APIConnectionError as error:
                self.look_due = silent = isinstance(error, APITimeoutError)
                self._ended(idle=silent)
                return []
            if not chunk:
                self._ended(idle=(self._parser.last_comment or "").startswith("408:"))
                return []
            if len(chunk) > _PIECE:
                self._unread = memoryview(chunk)
                chunk = self._next_piece()
            if events := self._parse(chunk):
                return events
        return []

    def _next_piece(self) -> bytes:
        piece, self._unread = self._unread[:_PIECE], self._unread[_PIECE:]
        return bytes(piece)

    def resume(self, seen: set[int]) -> bool:
        """Drop the events whose hashed ids were *seen* should they come once more.

        Returns false if the last id cannot be sent to the server, so that it cannot resume.
        """
        self._replayed = seen or None
        return can_be_sent(self._parser.last_event_id)

    @property
    def connected(self) -> bool:
        """Whether there is a connection to read on."""
        return self._stream is not None

    @property
    def quiet_for(self) -> float:
        """Seconds since the last event with news, as far as that was noticed."""
        return 0.0 if self._quiet_since is None else self._clock() - self._quiet_since

    def looked(self) -> None:
        """Read on: the prediction was looked at."""
        self.look_due = False
        self._looked_at = self._clock()

    def close(self) -> None:
        """Close the connection at once."""
        self._unread = _NOTHING
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
        # Here and not in a function: every event passes by.
        output = type(events) is Outputs and events.parts[-1]
        if not output or not self.progressed or self._quiet_since is not None:
            self._note(events)
        return events

    def _note(self, events: Received) -> None:
        """Note whether *events* bring news of the run; if not, see how long there were none."""
        if events:
            if isinstance(events, Outputs):
                output = news = any(events.parts)
                self._advanced = True
            else:
                told = [event.event for event in events if event.data]
                output, news = "output" in told, not _NEWS.isdisjoint(told)
                if not self._advanced:
                    self._advanced = any(event.has_id for event in events)
            if output and not self.progressed:
                self.progressed = True
                self.fruitless = self._barren = 0
            if news:
                self._quiet_since = None
                return
        now = self._clock()
        if self._quiet_since is None:
            self._quiet_since = now
        limit = math.inf if self._stream is None else self._stream.limit
        self.look_due = now - max(self._quiet_since, self._looked_at) >= limit

    def _new(self, events: list[Event], replayed: set[int]) -> list[Event]:
        """Return *events* without those that the server sends once more after a reconnect."""
        new: list[Event] = []
        for at, event in enumerate(events):
            if not event.has_id:
                new.append(event)
            elif hash(event.id) not in replayed:
                self._replayed = None
                return new + events[at:]
        return new

    async def _connect(self) -> ByteStream | None:
        if self._reconnecting:
            await self._sleep(self._next_pause())
        self._reconnecting = True
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
        if stream.status == 200 and _is_event_stream(content_type):
            self._accepted = True
            self._stream = stream
            return stream
        try:
            await self._refused(stream, content_type)
        finally:
            stream.close()
        return None

    async def _refused(self, stream: ByteStream, content_type: str) -> None:
        """Note when to ask again, or raise the error that the answer stands for.

        A server that asks for patience gets it, and so does one that has sent events before: it
        may be in the middle of a restart.
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
            if after is not None and after <= _LONGEST_WAIT:
                self._ended(idle=False)
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
        now = self._clock()
        if self._quiet_since is None:
            self._quiet_since = now
        lasted = now - self._opened_at > _IDLE
        if not self.progressed:
            self._barren = 0 if lasted else self._barren + 1
            # A new event without output shows that the server is at it, and no more than that.
            if not (idle or lasted or self._advanced):
                self.fruitless += 1

    def _next_pause(self) -> float:
        pause = pause_before(self._barren, self._parser.retry, self._jitter())
        if self._pause is not None:
            pause, self._pause = max(pause, self._pause), None
        return pause


def _is_event_stream(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"
