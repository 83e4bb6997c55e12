"""Parsing and encoding server-sent events, without I/O.

The rules are those of https://html.spec.whatwg.org/multipage/server-sent-events.html, for bytes
that are cut anywhere: the `feed` that completes an event returns it. Text is UTF-8; invalid bytes
become U+FFFD.

Most chunks contain only outputs, which are split all at once. Other complete blocks are read with
one regular expression, and the rest line by line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

_BOM: Final = b"\xef\xbb\xbf"
_STEP: Final = 256 * 1024  # larger chunks are parsed in pieces of this size, which bounds copies
_COMMENT_KEPT: Final = 1024
_RETRY_MAX: Final = 2**63 - 1
_LONGEST_REST: Final = 4096  # bytes that are parsed only when the rest of their event has arrived

_OUTPUT: Final = "event: output\nid: "
_NEXT_OUTPUT: Final = "\n\n" + _OUTPUT
_DATA: Final = "\ndata: "

# A block of the usual shape, or any other block as group 4. An empty `event` is the same as none;
# an empty `id` clears the last one, so it does not match here.
_blocks = re.compile(
    r"(?:event: ?+(.++)\n)?(?:id: ?+([^\n\0]++)\n)?"
    r"data: ?+(.*+(?:\ndata: .*+)*)\n\n|((?s:.)*?\n\n)"
).findall


class EventTooLarge(ValueError):  # noqa: N818 - part of the public surface
    """One event, line or comment exceeded the parser's cap."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One dispatched event.

    `id` is the last event id, which an event without an id of its own repeats; `has_id` is whether
    it has its own. `retry` is in milliseconds; None without a valid one in this event.
    """

    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None
    has_id: bool = False


class Outputs(msgspec.Struct, frozen=True, gc=False):
    """Consecutive events named ``output``, each with an id of its own.

    `ids` and `parts` have the same length; a part is the data of an event. `then` has the events
    after them, such as ``done``.
    """

    ids: Sequence[str]
    parts: Sequence[str]
    then: list[Event] | None = None

    def events(self) -> list[Event]:
        """Return the single events."""
        if len(self.parts) == 1 and self.then is None:  # faster than the loop
            return [Event(event="output", data=self.parts[0], id=self.ids[0], has_id=True)]
        return [
            Event(event="output", data=part, id=id_, has_id=True)
            for part, id_ in zip(self.parts, self.ids, strict=True)
        ] + (self.then or [])


Received: TypeAlias = Outputs | list[Event]


class Parser:
    """A parser of one event stream, and of its continuations after a reconnect.

    Args:
        max_event_bytes: The most bytes of a line, a comment or the fields of one event; 16 MiB.
        last_event_id: The id after which a resumed stream begins.
    """

    def __init__(self, max_event_bytes: int = 16 * 1024 * 1024, *, last_event_id: str = "") -> None:
        if max_event_bytes < 1:
            raise ValueError(f"max_event_bytes must be at least 1, not {max_event_bytes}")
        self._max = max_event_bytes
        self._whole = min(max_event_bytes, _STEP)
        self.last_event_id: str = last_event_id
        """The id that a reconnect must send, if not empty: the id at the last blank line."""
        self.retry: int | None = None
        """The last reconnection time in milliseconds, or None."""
        self.last_comment: str | None = None
        """The latest comment line without its colon, at most 1,024 bytes, or None."""
        self.close()

    def close(self) -> None:
        """End the stream: drop an incomplete event, and expect the bytes of the next connection.

        `last_event_id` and `retry` are kept, `last_comment` until the next stream begins.
        """
        self._between = False  # whether `_rest`, or the next byte, begins a block
        self._rest: bytes = b""  # the beginning of a block, not parsed yet
        self._at_start = True
        self._head: bytes = b""  # the received part of a byte order mark
        self._after_cr = False
        self.failed: bool = False
        self._line = bytearray()
        self._id = self.last_event_id
        self._begin_block()

    def _begin_block(self) -> None:
        self._open = False  # whether any byte of a line was received since the last blank line
        self._data = bytearray()  # not a list: short lines would take many times their bytes
        self._event = ""
        self._event_retry: int | None = None
        self._has_id = False
        self._held = 0  # bytes of the fields received since the last blank line

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that *data* completes, in order.

        Raises `EventTooLarge` for an event above the limit. If *data* completes events before it,
        these are returned, and the next call raises. All calls raise until `close`.
        """
        taken = self.take(data)
        return taken.events() if isinstance(taken, Outputs) else taken

    def take(self, data: bytes) -> Received:
        """Return the events of `feed`, as `Outputs` where the data is mostly outputs."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if self._between and len(data) <= self._whole:
            if (outputs := self._take_outputs(data)) is not None:
                return outputs
            end = data.rfind(b"\n\n") + 2
            rest = data[end:]
            if end > 1 and b"\r" not in data and (not rest or _can_wait(rest)):
                self._rest = rest
                return self._take_blocks(data[:end])
        elif self._at_start and data[:1] in (b":", b"e") and not (self._head or self.failed):
            return self._take_first(data)
        return self._take_any(data)

    def _take_first(self, data: bytes) -> Received:
        """Read the beginning of a stream, with an optional comment and no byte order mark."""
        self._at_start = False
        self.last_comment = None
        self._between = True
        greeting, blank, rest = data.partition(b"\n\n")
        if rest and greeting.startswith(b":") and len(greeting.splitlines()) == 1:
            self._take_any(greeting + blank)
            data = rest
        return self.take(data)

    def _take_any(self, data: bytes) -> list[Event]:
        """Read bytes of any shape, cut anywhere."""
        events: list[Event] = []
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
            # A CR ends its line at once; the LF of a CRLF is dropped above.
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        at = self._take_lines(data, 0, events) if self._open else 0
        # Blocks of a chunk below the limit are below it too, so only lines are counted.
        if len(data) <= self._max:
            end = data.rfind(b"\n\n", at) + 2
            if end > at + 1:
                blocks = self._take_blocks(data[at:end])
                events += blocks.events() if isinstance(blocks, Outputs) else blocks
                at = end
        while at < len(data):
            at = self._take_lines(data, at, events)

    def _take_blocks(self, data: bytes) -> Received:
        """Read complete blocks."""
        if outputs := self._take_outputs(data):
            return outputs
        try:
            return self._take_text(data.decode())
        except UnicodeDecodeError:
            events: list[Event] = []
            self._take_block(data, events)
            return events

    def _take_outputs(self, data: bytes) -> Outputs | None:
        """Read complete blocks if all but the last are outputs, else return None."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        if not (text.startswith(_OUTPUT) and text.endswith("\n\n")) or "\r" in text or "\0" in text:
            return None
        ends = text.count("\n")
        if ends == 4:  # a single event, read as below
            id_, colon, part = text[len(_OUTPUT) : -2].partition(_DATA)
            if not (colon and id_):
                return None
            self._id = self.last_event_id = id_
            return Outputs((id_,), (part,))
        last = text.rfind("\n\n", 0, -2) + 2
        rest = "" if last < 2 or text.startswith(_OUTPUT, last) else text[last:]
        if rest:
            text, ends = text[:last], ends - rest.count("\n")
        outputs = _outputs(text, ends)
        if outputs is not None:
            self._id = self.last_event_id = outputs.ids[-1]
            if rest:
                return Outputs(outputs.ids, outputs.parts, self._take_text(rest))
        return outputs

    def _take_text(self, text: str) -> list[Event]:
        events: list[Event] = []
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
        return events

    def _take_block(self, data: bytes, events: list[Event]) -> None:
        at = 0
        while at < len(data):
            at = self._take_lines(data, at, events)

    def _take_lines(self, data: bytes, at: int, events: list[Event]) -> int:
        """Read lines from *at* to the first blank one; returns the position after it."""
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
                del line[:start]  # a long line becomes the buffer, without a copy
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
            # 20 digits show whether the number exceeds the maximum; int() refuses thousands.
            digits = line[start:].lstrip(b"0")[:20]
            self.retry = self._event_retry = min(int(digits or b"0"), _RETRY_MAX)

    def _dispatch(self, events: list[Event]) -> None:
        # The id counts also without data, when there is no event.
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


def _outputs(text: str, ends: int) -> Outputs | None:
    """Return the blocks of *text* if each is an ``output``, an id and data, in this order.

    The text begins with an output and ends with a blank line; *ends* is its number of line ends.
    """
    # rsplit is faster: its search looks for a line end, that of split for a space.
    blocks = text[len(_OUTPUT) : -2].rsplit(_NEXT_OUTPUT)
    # Each block has three other lines: event, id and the blank one. The rest are data.
    left = ends - 3 * len(blocks)
    if left == len(blocks):
        return _short_outputs(blocks)
    if left < len(blocks) or left != text.count(_DATA):
        return None
    ids, found, parts = zip(*[block.partition(_DATA) for block in blocks], strict=True)
    if not (all(found) and all(ids)):
        return None
    return Outputs(ids, tuple([part.replace(_DATA, "\n") for part in parts]))


def _short_outputs(blocks: list[str]) -> Outputs | None:
    """Return *blocks* of two lines: an id and data."""
    # Split all at once into alternating ids and parts, in two thirds of the time of a loop. The
    # NUL, which no text contains, shows that the ids are at the right places.
    pieces = (_DATA + "\0").join(blocks).rsplit(_DATA)
    ids = "".join(pieces[::2]).split("\0")
    if len(pieces) != 2 * len(blocks) or len(ids) != len(blocks) or not all(ids):
        return None
    return Outputs(ids, pieces[1::2])


def _can_wait(rest: bytes) -> bool:
    """Return whether the beginning of a block has no effect before its end."""
    return (
        len(rest) <= _LONGEST_REST
        and b"event: ".startswith(rest[:7])
        and b"\n:" not in rest
        and b"\nretry" not in rest
    )


def encode(event: str, data: str, id: str | None = None, retry: int | None = None) -> bytes:
    """Return the bytes of an event.

    event: its name; empty for none.
    data: its data. The reader gets LF for each line end, and a question mark for a lone surrogate.
    id: its id; empty to clear the reader's last id, None for none.
    retry: the reconnection time in milliseconds; None for none.

    Raises `ValueError` for a CR, LF or NUL in *event* or *id*, and for a negative *retry*.
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
