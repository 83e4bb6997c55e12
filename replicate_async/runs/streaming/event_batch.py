"""Batches of events that arrived together, and the iterators over them.

Each event is taken once: all iterators over a batch share one position. They are built from
iterators in C where possible, since one chunk may hold thousands of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress
from operator import length_hint
from typing import TYPE_CHECKING, TypeAlias

from replicate_async.core.sse import Event, Outputs
from replicate_async.runs.streaming.events import OutputEvent, StreamEvent, typed

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent


class OutputBatch:
    """Events that are all parts of the output; *earlier_id* is the id of the event before them."""

    __slots__ = ("_all_ids", "_earlier_id", "_ids", "_parts")

    def __init__(self, batch: Outputs, earlier_id: str) -> None:
        self._earlier_id = earlier_id
        self._all_ids = ids = batch.ids
        # Both iterators advance together. No id is empty, which `compress` relies on.
        self._ids = iter(ids)
        self._parts = iter(batch.parts)

    @property
    def taken_id(self) -> str:
        """The id of the last event that was taken."""
        taken = len(self._all_ids) - length_hint(self._ids)
        return self._all_ids[taken - 1] if taken else self._earlier_id

    @property
    def last_id(self) -> str:
        """The id of the last event."""
        return self._all_ids[-1]

    def typed(self) -> Iterator[StreamEvent]:
        """Iterate over the remaining events, typed."""
        return map(OutputEvent, self._parts, self._ids)

    def texts(self) -> Iterator[str]:
        """Iterate over the remaining parts of the output."""
        return compress(self._parts, self._ids)

    def raw(self) -> Iterator[ServerSentEvent]:
        """Iterate over the remaining events, as httpx-sse has them."""
        return map(_raw_output, self._parts, self._ids)


class MixedBatch:
    """Events of any kind, or none; *earlier_id* is the id of the event before them."""

    __slots__ = ("_batch", "_earlier_id", "remaining")

    def __init__(self, batch: list[Event], earlier_id: str) -> None:
        self._earlier_id = earlier_id
        self._batch = batch
        self.remaining: Iterator[Event] = iter(batch)
        """The events that were not taken."""

    @property
    def outputs_left(self) -> int:
        """How many parts of the output were not taken."""
        return sum(event.event == "output" for event in self._batch[self._taken :])

    @property
    def taken_id(self) -> str:
        """The id of the last event that was taken."""
        taken = self._taken
        return self._batch[taken - 1].id if taken else self._earlier_id

    @property
    def last_id(self) -> str:
        """The id of the last event."""
        return self._batch[-1].id if self._batch else self._earlier_id

    @property
    def _taken(self) -> int:
        return len(self._batch) - length_hint(self.remaining)

    def typed(self) -> Iterator[StreamEvent]:
        """Iterate over the remaining events, typed."""
        return map(typed, self.remaining)

    def texts(self) -> Iterator[str]:
        """Iterate over the remaining parts of the output; other events are skipped."""
        return (event.data for event in self.remaining if event.event == "output")

    def raw(self) -> Iterator[ServerSentEvent]:
        """Iterate over the remaining events, as httpx-sse has them."""
        return map(_raw, self.remaining)


EventBatch: TypeAlias = OutputBatch | MixedBatch


def _raw_output(part: str, id_: str) -> ServerSentEvent:
    return _raw(Event(event="output", data=part, id=id_))


def _raw(event: Event) -> ServerSentEvent:
    from httpx_sse import ServerSentEvent  # noqa: PLC0415 - imports httpx

    return ServerSentEvent(event=event.event, data=event.data, id=event.id, retry=event.retry)
