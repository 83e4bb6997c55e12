"""Server-sent events of runs: a buffer that every subscriber reads at its own pace.

The service's streams are nginx with nchan, whose habits these are: the `: hi` prelude, ids of Unix
time and a counter, replay from the start for who comes late, resume after `Last-Event-ID`, and a
comment with a 408 before a silent connection is closed.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

from replicate_async.core.sse import encode
from replicate_async.local import ids
from replicate_async.local.clock import Clock
from replicate_async.local.http.errors import not_found

if TYPE_CHECKING:
    from replicate_async.local.http.fault_injection import Fault

PRELUDE = b": hi\n\n"
_FILES = "/v1/files/bcwr-"
_TEXT = "/v1/streams/"
TIMEOUT = b":408: 408 Request Timeout\n\n"
_ID = re.compile(r"(\d{1,20}):(\d{1,20})", re.ASCII)
# What one write may take of the buffer: a subscriber that reads slowly holds this much, no more.
_BATCH = 64 * 1024

Ending = Literal["succeeded", "canceled", "error"]


class Stream:
    """The events of one run, and who waits for the next."""

    def __init__(self, clock: Clock) -> None:
        self.done: bool = False
        self._clock = clock
        self._second = 0
        self._count = 0
        self._events: list[bytes] = []
        self._ids: list[tuple[int, int]] = []
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    def send(self, event: str, data: str) -> None:
        """Add an event; after the end there is none."""
        if self.done:
            return
        second = max(int(self._clock.now()), self._second)
        self._count = self._count + 1 if second == self._second else 0
        self._second = second
        self._ids.append((second, self._count))
        self._events.append(encode(event, data, id=f"{second}:{self._count}"))
        self.nudge()

    def end(self, how: Ending, detail: str = "") -> None:
        """Add the events that end the stream."""
        if how == "error":
            self.send("error", msgspec.json.encode({"detail": detail}).decode())
        reason: dict[str, Any] = {} if how == "succeeded" else {"reason": how}
        self.send("done", msgspec.json.encode(reason).decode())
        self.done = True
        self.nudge()

    def forget(self) -> None:
        """Drop all events, as when the data of the run is removed."""
        self.done = True
        self._events.clear()
        self._ids.clear()
        self.nudge()

    def after(self, last_event_id: str) -> int:
        """Return where to go on for a subscriber that has seen *last_event_id*."""
        match = _ID.fullmatch(last_event_id)
        if match is None:
            return 0
        seen = (int(match[1]), int(match[2]))
        return bisect_right(self._ids, seen)

    def event(self, at: int) -> bytes:
        """Return the bytes of one event."""
        return self._events[at]

    def batch(self, at: int) -> tuple[bytes, int]:
        """Return the bytes of some events from *at* on, and where the next one is."""
        chunks: list[bytes] = []
        size = 0
        while at < len(self._events) and size < _BATCH:
            chunks.append(self._events[at])
            size += len(chunks[-1])
            at += 1
        return b"".join(chunks), at

    async def changed(self) -> None:
        """Wait for an event that is not there yet, or the end."""
        await self._changed.wait()

    def nudge(self) -> None:
        """Wake everybody who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()


class Streams:
    """All streams of a server, by the path that is the key to each."""

    def __init__(self, clock: Clock, *, idle_timeout: float, linger: float) -> None:
        self._clock = clock
        self._idle_timeout = idle_timeout
        self._linger = linger
        self._streams: dict[str, Stream] = {}
        self._key = secrets.token_bytes(32)
        self._closing = False

    def token(self, run_id: str) -> str:
        """Return the secret part of the path of a run's stream."""
        return ids.run_capability(run_id, self._key)

    def open(self, run_id: str, *, files: bool) -> tuple[str, Stream]:
        """Make the stream of a run; returns its path, too."""
        path = f"{_FILES if files else _TEXT}{self.token(run_id)}"
        stream = self._streams[path] = Stream(self._clock)
        return path, stream

    def forget(self, path: str) -> None:
        """Drop the stream at *path*, as when the data of the run is removed."""
        stream = self._streams.pop(path, None)
        if stream is not None:
            stream.forget()

    def _find(self, path: str) -> Stream:
        """Return the stream at *path*, an empty one once forgotten; raises the 404 `Problem`."""
        if path in self._streams:
            return self._streams[path]
        token = path.removeprefix(_FILES).removeprefix(_TEXT)
        if not ids.is_run_capability(token, self._key):
            raise not_found()
        stream = Stream(self._clock)
        stream.forget()
        return stream

    def close(self) -> None:
        """Let all subscribers go, once they have what there is."""
        self._closing = True
        for stream in self._streams.values():
            stream.nudge()

    async def subscribe(
        self, request: web.Request, fault: Fault | None = None
    ) -> web.StreamResponse:
        """Send the events of the stream that *request* names until it ends or the client goes."""
        stream = self._find(request.path)
        last = request.headers.get("Last-Event-ID") or request.query.get("last_event_id", "")
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "Access-Control-Allow-Origin": request.headers.get("Origin", "*"),
                **({} if fault is None else fault.mark),
            }
        )
        at = stream.after(last)
        with suppress(ConnectionResetError):  # the client went
            await response.prepare(request)
            await response.write(PRELUDE)
            if fault is None:
                await self._follow(stream, response, at)
            else:
                await self._disturb(stream, response, at, fault)
        return response

    async def _follow(self, stream: Stream, response: web.StreamResponse, at: int) -> None:
        while True:
            chunk, at = stream.batch(at)
            if chunk:
                await response.write(chunk)
            elif not await self._more(stream):
                await response.write(TIMEOUT)
                return

    async def _more(self, stream: Stream) -> bool:
        """Wait for events; False when the stream was silent, or over, for too long."""
        if self._closing:
            return False
        limit = self._linger if stream.done else self._idle_timeout
        try:
            async with asyncio.timeout(limit):
                await stream.changed()
        except TimeoutError:
            return False
        return True

    async def _disturb(
        self, stream: Stream, response: web.StreamResponse, at: int, fault: Fault
    ) -> None:
        """Send the stream event by event, and spoil it where *fault* says."""
        budget = fault.cut_after
        sent = 0
        while True:
            if at >= len(stream):
                if not await self._more(stream):
                    return
                continue
            chunk = stream.event(at)
            at += 1
            if fault.omit_done and chunk.startswith(b"event: done"):
                return
            if fault.pause:
                await self._clock.sleep(fault.pause)
            if budget is not None and len(chunk) >= budget:
                await response.write(chunk[:budget])
                return
            await response.write(chunk)
            budget = None if budget is None else budget - len(chunk)
            sent += 1
            if fault.cut_after_events is not None and sent >= fault.cut_after_events:
                return
