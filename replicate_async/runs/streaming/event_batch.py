"""Events that came together, and the ways of taking them.

An event is taken once, whichever way it is: the iterators of one batch share a place in it. They
are made in C as far as can be, for a chunk may bring thousands of events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import compress
from operator import length_hint
from typing import TYPE_CHECKING, TypeAlias

from replicate_async.core.sse import Event, Outputs
from replicate_async.runs.streaming.events import OutputEvent, StreamEvent, typed

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent


class OutputBatch:
    """Parts of the output, and nothing else, after the event with *earlier_id*."""

    __slots__ = ("_all_ids", "_earlier_id", "_ids", "_parts")

    def __init__(self, batch: Outputs, earlier_id: str) -> None:
        self._earlier_id = earlier_id
        self._all_ids = ids = batch.ids
        # Taken from in step; the ids are never empty.
        self._ids = iter(ids)
        self._parts = iter(batch.parts)

    @property
    def taken_id(self) -> str:
        """The id of the event that was taken last."""
        taken = len(self._all_ids) - length_hint(self._ids)
        return self._all_ids[taken - 1] if taken else self._earlier_id

    @property
    def last_id(self) -> str:
        """The id of the last event."""
        return self._all_ids[-1]

    def typed(self) -> Iterator[StreamEvent]:
        """Iterate over what was not taken, as typed events."""
        return map(OutputEvent, self._parts, self._ids)

    def texts(self) -> Iterator[str]:
        """Iterate over what was not taken, as parts of the output."""
        return compress(self._parts, self._ids)

    def raw(self) -> Iterator[ServerSentEvent]:
        """Iterate over what was not taken, as events of httpx-sse."""
        return map(_raw_output, self._parts, self._ids)

    def drop(self) -> None:
        """Take all that was not taken."""
        deque(self.texts(), maxlen=0)


class MixedBatch:
    """Events of any kind, or none, after the one with *earlier_id*."""

    __slots__ = ("_batch", "_earlier_id", "left")

    def __init__(self, batch: list[Event], earlier_id: str) -> None:
        self._earlier_id = earlier_id
        self._batch = batch
        self.left: Iterator[Event] = iter(batch)
        """What was not taken."""

    @property
    def outputs(self) -> int:
        """How many parts of the output there are."""
        return _parts(self._batch)

    @property
    def outputs_taken(self) -> int:
        """How many parts of the output were taken."""
        return _parts(self._batch[: self._taken])

    @property
    def taken_id(self) -> str:
        """The id of the event that was taken last."""
        taken = self._taken
        return self._batch[taken - 1].id if taken else self._earlier_id

    @property
    def last_id(self) -> str:
        """The id of the last event."""
        return self._batch[-1].id if self._batch else self._earlier_id

    @property
    def _taken(self) -> int:
        return len(self._batch) - length_hint(self.left)

    def typed(self) -> Iterator[StreamEvent]:
        """Iterate over what was not taken, as typed events."""
        return map(typed, self.left)

    def texts(self) -> Iterator[str]:
        """Iterate over what was not taken, as parts of the output; other events are left out."""
        return (event.data for event in self.left if event.event == "output")

    def raw(self) -> Iterator[ServerSentEvent]:
        """Iterate over what was not taken, as events of httpx-sse."""
        return map(_raw, self.left)

    def drop(self) -> None:
        """Take all that was not taken."""
        deque(self.left, maxlen=0)


EventBatch: TypeAlias = OutputBatch | MixedBatch


def _parts(events: list[Event]) -> int:
    return sum(event.event == "output" for event in events)


def _raw_output(part: str, id_: str) -> ServerSentEvent:
    return _raw(Event(event="output", data=part, id=id_))


def _raw(event: Event) -> ServerSentEvent:
    # Imported where it is asked for: it brings httpx along.
    from httpx_sse import ServerSentEvent  # noqa: PLC0415 - brings httpx

    return ServerSentEvent(event=event.event, data=event.data, id=event.id, retry=event.retry)
