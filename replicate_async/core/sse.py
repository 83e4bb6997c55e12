"""Server-sent events without I/O: bytes in, events out, and back.

The rules are those of https://html.spec.whatwg.org/multipage/server-sent-events.html, and hold for
every way of cutting the bytes: an event is returned by the `feed` that brings the end of its blank
line, and nothing of it before. Text is always UTF-8; bytes that are not become U+FFFD.

Most chunks hold whole events of the shape `event`, `id`, `data`, so whole blocks are read with one
regular expression. Whatever else arrives goes line by line through the same parser's slower half.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_BOM: Final = b"\xef\xbb\xbf"
_STEP: Final = 256 * 1024  # larger chunks are taken in pieces, so that no copy of them is large
_COMMENT_KEPT: Final = 1024
_RETRY_MAX: Final = 2**63 - 1

# A block of the usual shape, or any block as group 4. An empty or absent `event` is the same thing,
# an empty or absent `id` is not: the empty one clears, so it does not match here.
_blocks = re.compile(
    r"(?:event: ?+(.++)\n)?(?:id: ?+([^\n\0]++)\n)?"
    r"data: ?+(.*+(?:\ndata: .*+)*)\n\n|((?s:.)*?\n\n)"
).findall


class EventTooLarge(ValueError):  # noqa: N818 - it says what happened
    """One event, line or comment exceeded the parser's cap."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One dispatched event.

    `id` is the last event id at that moment, so an event without an id of its own repeats its
    predecessor's; `has_id` tells the two apart. `retry` is in milliseconds, and None unless this
    event brought a valid one.
    """

    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None
    has_id: bool = False


class Parser:
    """A parser of one event stream, and of its continuations after a reconnect.

    *max_event_bytes* (16 MiB) caps what a line, a comment or the fields of one event may hold.
    *last_event_id* is where a resumed stream begins.

    `last_event_id` is what a reconnect must send (nothing when empty): the id as of the last blank
    line, whatever a half-received event says. `retry` is the reconnection time last received, in
    milliseconds, or None. `last_comment` is the text after the colon of the stream's latest comment
    line, at most its first 1,024 bytes, or None. `failed` says that the next `feed` will
    raise, whatever it is given.
    """

    def __init__(self, max_event_bytes: int = 16 * 1024 * 1024, *, last_event_id: str = "") -> None:
        if max_event_bytes < 1:
            raise ValueError(f"max_event_bytes must be at least 1, not {max_event_bytes}")
        self._max = max_event_bytes
        self._whole = min(max_event_bytes, _STEP)
        self.last_event_id: str = last_event_id
        self.retry: int | None = None
        self.last_comment: str | None = None
        self.close()

    def close(self) -> None:
        """End the stream: drop a partial event, and be ready for the bytes of the next connection.

        `last_event_id` and `retry` outlive the stream, `last_comment` until the next one begins.
        """
        self._between = False  # whether the next byte begins a block, and nothing else is pending
        self._at_start = True
        self._head: bytes = b""  # the part of a byte order mark received so far
        self._after_cr = False
        self.failed: bool = False
        self._line = bytearray()
        self._id = self.last_event_id
        self._begin_block()

    def _begin_block(self) -> None:
        self._open = False  # whether a line, or part of one, was received since the last blank line
        self._data = bytearray()  # not a list: many short lines would take many times their bytes
        self._event = ""
        self._event_retry: int | None = None
        self._has_id = False
        self._held = 0  # bytes of the fields received since the last blank line

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that *data* completes, in order.

        Raises EventTooLarge for an event beyond the cap. Events completed before it in the same
        *data* are returned first and the next call raises, as do all that follow until `close`.
        """
        events: list[Event] = []
        if (
            self._between
            and data.endswith(b"\n\n")
            and b"\r" not in data
            and len(data) <= self._whole
        ):
            self._take_blocks(data, events)
            return events
        if self.failed:
            raise self._too_large()
        try:
            if len(data) <= _STEP:
                self._feed(data, events)
            else:
                for start in range(0, len(data), _STEP):
                    self._feed(data[start : start + _STEP], events)
        except EventTooLarge:
            self.close()
            self.failed = True
            if not events:
                raise
        else:
            self._between = not (self._open or self._at_start or self._after_cr)
        return events

    def _feed(self, data: bytes, events: list[Event]) -> None:
        if self._at_start:
            data = self._head + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._head = data
                return
            data = data.removeprefix(_BOM)
            self._at_start = False
            self.last_comment = None
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            # A CR ends its line at once; should the LF of a CRLF follow, it is dropped above.
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        at = self._take_lines(data, 0, events) if self._open else 0
        # Blocks within a chunk below the cap are below the cap, so only lines need counting.
        if len(data) <= self._max:
            end = data.rfind(b"\n\n", at) + 2
            if end > at + 1:
                self._take_blocks(data[at:end], events)
                at = end
        while at < len(data):
            at = self._take_lines(data, at, events)

    def _take_blocks(self, data: bytes, events: list[Event]) -> None:
        """Read whole blocks, from the beginning of one to the blank line of another."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._take_block(data, events)
            return
        for event, id_, lines, other in _blocks(text):
            if other:
                self._take_block(other.encode(), events)
                continue
            value = lines.replace("\ndata: ", "\n") if "\n" in lines else lines
            if id_:
                self._id = self.last_event_id = id_
                events.append(Event(event=event or "message", data=value, id=id_, has_id=True))
            else:
                events.append(Event(event=event or "message", data=value, id=self.last_event_id))

    def _take_block(self, data: bytes, events: list[Event]) -> None:
        at = 0
        while at < len(data):
            at = self._take_lines(data, at, events)

    def _take_lines(self, data: bytes, at: int, events: list[Event]) -> int:
        """Read lines from *at* through the first blank one, and return where they end."""
        while (end := data.find(b"\n", at)) >= 0:
            line: bytes | bytearray = data[at:end]
            at = end + 1
            if self._line:
                self._line += line
                line, self._line = self._line, bytearray()
            if not line:
                self._dispatch(events)
                return at
            self._open = True
            self._check(len(line))
            self._take_line(line)
        if at < len(data):
            self._open = True
            self._line += data[at:]
            self._check(len(self._line))
        return len(data)

    def _take_line(self, line: bytes | bytearray) -> None:
        colon = line.find(b":")
        if colon == 0:
            self.last_comment = line[1 : 1 + _COMMENT_KEPT].decode(errors="replace")
            return
        name = line if colon < 0 else line[:colon]
        start = len(line) if colon < 0 else colon + 1
        if line.startswith(b" ", start):
            start += 1
        if name == b"data":
            self._held += len(line) - start + 1
            if isinstance(line, bytearray) and not self._data:
                del line[:start]  # a long line becomes the buffer rather than being copied to it
                self._data = line
            else:
                self._data += line[start:]
            self._data += b"\n"
        elif name == b"event":
            self._held += len(line) - start
            self._event = line[start:].decode(errors="replace")
        elif name == b"id":
            if b"\0" not in line:
                self._held += len(line) - start
                self._id = line[start:].decode(errors="replace")
                self._has_id = True
        elif name == b"retry" and line[start:].isdigit():
            # 20 digits decide whether the number is beyond the maximum; int() refuses thousands.
            digits = line[start:].lstrip(b"0")[:20]
            self.retry = self._event_retry = min(int(digits or b"0"), _RETRY_MAX)

    def _dispatch(self, events: list[Event]) -> None:
        # The id counts from here even when there is no data and thus no event.
        self.last_event_id = self._id
        if self._data:
            self._data.pop()
            events.append(
                Event(
                    event=self._event or "message",
                    data=self._data.decode(errors="replace"),
                    id=self._id,
                    retry=self._event_retry,
                    has_id=self._has_id,
                )
            )
        self._begin_block()

    def _check(self, line: int) -> None:
        if self._held + line > self._max:
            raise self._too_large()

    def _too_large(self) -> EventTooLarge:
        return EventTooLarge(
            f"an event, line or comment of the stream exceeds {self._max} bytes: "
            "raise max_event_bytes if such events are expected"
        )


def encode(event: str, data: str, id: str | None = None, retry: int | None = None) -> bytes:
    """Return the bytes that `Parser` reads as this event.

    An empty *event* leaves its line out, and so does None for *id* (an empty *id* clears the
    reader's) and for *retry* (milliseconds). Every line end within *data* arrives as a LF, and a
    lone surrogate as a question mark. Raises ValueError for a CR, LF or NUL in *event* or *id*,
    which would change the meaning of the stream, and for a negative *retry*.
    """
    lines: list[str] = []
    if event:
        lines.append(f"event: {_one_line('event', event)}\n")
    if id is not None:
        lines.append(f"id: {_one_line('id', id)}\n")
    if retry is not None:
        if retry < 0:
            raise ValueError(f"retry must be 0 or more milliseconds, not {retry}")
        lines.append(f"retry: {retry}\n")
    data = data.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")
    lines.append(f"data: {data}\n\n")
    return "".join(lines).encode(errors="replace")


def _one_line(name: str, value: str) -> str:
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"{name} must not contain CR, LF or NUL, got {value[:80]!r}")
    return value
