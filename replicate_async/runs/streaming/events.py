"""The typed events that a stream yields."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Struct

from replicate_async.core.sse import Event
from replicate_async.files.output import FileOutput


class _Event(Struct, frozen=True, gc=False):
    """An event without output, whose text is empty: printing all events prints the output."""

    def __str__(self) -> str:
        return ""


class OutputEvent(Struct, frozen=True, gc=False):
    """A part of the output, in ``data``: a chunk of text, or a file.

    Parts of another type are JSON texts. ``str(event)`` is the text, or the URL of the file.
    """

    event: ClassVar[Literal["output"]] = "output"
    data: str | FileOutput
    """A chunk of text, or a file."""
    id: str = ""
    """The id of the event, for ``last_event_id``; empty for a run that is polled."""

    def __str__(self) -> str:
        return str(self.data)


class LogsEvent(_Event, frozen=True, gc=False):
    """Lines of the log. ``str(event)`` is empty, so that printing events prints the output."""

    event: ClassVar[Literal["logs"]] = "logs"
    data: str
    """Lines, with their ends."""
    id: str = ""
    """The id of the event, for ``last_event_id``; empty for a run that is polled."""


class ErrorEvent(_Event, frozen=True, gc=False):
    """The run failed; the stream ends with `PredictionFailed` after this event."""

    event: ClassVar[Literal["error"]] = "error"
    detail: str
    """The message of the model or the service."""
    id: str = ""
    """The id of the event, for ``last_event_id``; empty for a run that is polled."""


class DoneEvent(_Event, frozen=True, gc=False):
    """The end of the run."""

    event: ClassVar[Literal["done"]] = "done"
    reason: str | None = None
    """None for success, "canceled" or "error"."""
    id: str = ""
    """The id of the event, for ``last_event_id``; empty for a run that is polled."""


class UnknownEvent(_Event, frozen=True, gc=False):
    """An event whose ``name`` this version does not know, unchanged."""

    event: ClassVar[Literal["unknown"]] = "unknown"
    name: str
    """The name, as the service sent it."""
    data: str
    """The data, unchanged."""
    id: str = ""
    """The id of the event, for ``last_event_id``; empty for a run that is polled."""


StreamEvent: TypeAlias = OutputEvent | LogsEvent | ErrorEvent | DoneEvent | UnknownEvent
"""An event of a `Stream`; ``event.event`` tells which one it is."""


class _Body(Struct, frozen=True):
    """The documented fields of the data of ``error`` and ``done``."""

    detail: str | None = None
    reason: str | None = None


def typed(event: Event) -> StreamEvent:
    """Return the typed event for an event of the wire."""
    name = event.event
    if name == "output":
        return OutputEvent(event.data, event.id)
    if name == "logs":
        return LogsEvent(event.data, event.id)
    if name == "error":
        return ErrorEvent(error_detail(event.data), event.id)
    if name == "done":
        return DoneEvent(done_reason(event.data), event.id)
    return UnknownEvent(name, event.data, event.id)


def error_detail(data: str) -> str:
    """Return the message of an ``error`` event, whose data is JSON with a detail, or plain text."""
    return _body(data).detail or data


def done_reason(data: str) -> str | None:
    """Return the reason in a ``done`` event, None for success."""
    return _body(data).reason


def _body(data: str) -> _Body:
    try:
        return msgspec.json.decode(data, type=_Body)
    except (msgspec.DecodeError, RecursionError):
        return _Body()
