"""What a stream yields, and how events of the wire become that."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from replicate_async.core.sse import Event
from replicate_async.files.output import FileOutput


class OutputEvent(Struct, frozen=True, gc=False):
    """A part of the output, in ``data``: a chunk of text, or a file.

    A model that gives neither has its parts as JSON here. ``str(event)`` is the text, or the URL
    of the file.
    """

    data: str | FileOutput
    id: str = ""

    def __str__(self) -> str:
        return str(self.data)


class LogsEvent(Struct, frozen=True, gc=False):
    """Lines that were logged; ``str(event)`` is empty: printing events prints the output."""

    data: str
    id: str = ""

    def __str__(self) -> str:
        return ""


class ErrorEvent(Struct, frozen=True, gc=False):
    """The run failed; after this the stream ends with `PredictionFailed`."""

    detail: str
    id: str = ""

    def __str__(self) -> str:
        return ""


class DoneEvent(Struct, frozen=True, gc=False):
    """The end; ``reason`` is None for success, else "canceled" or "error"."""

    reason: str | None = None
    id: str = ""

    def __str__(self) -> str:
        return ""


class UnknownEvent(Struct, frozen=True, gc=False):
    """An event of a name that this version does not know, as it came."""

    event: str
    data: str
    id: str = ""

    def __str__(self) -> str:
        return ""


StreamEvent: TypeAlias = OutputEvent | LogsEvent | ErrorEvent | DoneEvent | UnknownEvent


class _Body(Struct, frozen=True):
    """What is documented of the data of ``error`` and ``done``."""

    detail: str | None = None
    reason: str | None = None


def typed(event: Event) -> StreamEvent:
    """Return the event of the wire as what it means."""
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
    """Return what an ``error`` event says; its data is JSON with a detail, or plain text."""
    return _body(data).detail or data


def done_reason(data: str) -> str | None:
    """Return why a ``done`` event came, None for success."""
    return _body(data).reason


def _body(data: str) -> _Body:
    try:
        return msgspec.json.decode(data, type=_Body)
    except (msgspec.DecodeError, RecursionError):
        return _Body()
