"""The event streams of runs: one buffer each, which subscribers read at their own pace."""

from __future__ import annotations

import asyncio
import re
import secrets
from bisect import bisect_right
from typing import Any, Literal

import msgspec

from replicate_async.core.sse import encode
from replicate_async.local import ids
from replicate_async.local.clock import Clock

_FILES = "/v1/files/bcwr-"
_TEXT = "/v1/streams/"
_ID = re.compile(r"(\d{1,20}):(\d{1,20})", re.ASCII)
# Bytes that one write takes from the buffer: the most that a slow subscriber holds.
_BATCH = 64 * 1024

Ending = Literal["succeeded", "canceled", "error"]


class Stream:
    """The events of one run."""

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
        """Add an event; ignored after the end."""
        if self.done:
            return
        second = max(int(self._clock.now()), self._second)
        self._count = self._count + 1 if second == self._second else 0
        self._second = second
        self._ids.append((second, self._count))
        self._events.append(encode(event, data, id=f"{second}:{self._count}"))
        self.notify()

    def end(self, how: Ending, detail: str = "") -> None:
        """Add the events that end the stream."""
        if how == "error":
            self.send("error", msgspec.json.encode({"detail": detail}).decode())
        reason: dict[str, Any] = {} if how == "succeeded" else {"reason": how}
        self.send("done", msgspec.json.encode(reason).decode())
        self.done = True
        self.notify()

    def forget(self) -> None:
        """Drop all events, as when the data of the run is removed."""
        self.done = True
        self._events.clear()
        self._ids.clear()
        self.notify()

    def after(self, last_event_id: str) -> int:
        """Return the index of the first event after *last_event_id*."""
        match = _ID.fullmatch(last_event_id)
        if match is None:
            return 0
        seen = (int(match[1]), int(match[2]))
        return bisect_right(self._ids, seen)

    def event(self, at: int) -> bytes:
        """Return the bytes of one event."""
        return self._events[at]

    def batch(self, at: int) -> tuple[bytes, int]:
        """Return the bytes of some events from index *at*, and the index of the next."""
        chunks: list[bytes] = []
        size = 0
        while at < len(self._events) and size < _BATCH:
            chunks.append(self._events[at])
            size += len(chunks[-1])
            at += 1
        return b"".join(chunks), at

    async def changed(self) -> None:
        """Wait for a further event, or the end."""
        await self._changed.wait()

    def notify(self) -> None:
        """Wake the subscribers."""
        self._changed.set()
        self._changed = asyncio.Event()


class Streams:
    """All streams of a server by path, which holds a capability."""

    def __init__(self, clock: Clock) -> None:
        self.closing: bool = False
        self._clock = clock
        self._streams: dict[str, Stream] = {}
        self._key = secrets.token_bytes(32)

    def token(self, run_id: str) -> str:
        """Return the secret part of the path of a run's stream."""
        return ids.run_capability(run_id, self._key)

    def open(self, run_id: str, *, files: bool) -> tuple[str, Stream]:
        """Make the stream of a run; returns its path and the stream."""
        path = f"{_FILES if files else _TEXT}{self.token(run_id)}"
        stream = self._streams[path] = Stream(self._clock)
        return path, stream

    def forget(self, path: str) -> None:
        """Drop the stream at *path*, as when the data of the run is removed."""
        stream = self._streams.pop(path, None)
        if stream is not None:
            stream.forget()

    def find(self, path: str) -> Stream | None:
        """Return the stream at *path*, an empty one once it is forgotten."""
        if path in self._streams:
            return self._streams[path]
        token = path.removeprefix(_FILES).removeprefix(_TEXT)
        if not ids.is_run_capability(token, self._key):
            return None
        stream = Stream(self._clock)
        stream.forget()
        return stream

    def close(self) -> None:
        """Let the subscribers end once they have sent the events so far."""
        self.closing = True
        for stream in self._streams.values():
            stream.notify()
