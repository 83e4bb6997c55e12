"""Following one prediction to its end: over connections, by polling, or both in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from replicate_async.core.poll import Poll
from replicate_async.core.sse import Event, Outputs, Received
from replicate_async.errors import (
    APIConnectionError,
    APIStatusError,
    ClientStateError,
    DecodeError,
    StreamError,
    StreamIncompleteError,
    StreamLimitError,
    StreamResponseError,
    prediction_error,
)
from replicate_async.files.find import is_file_url, is_url
from replicate_async.files.output import FileOutput, FileSource
from replicate_async.runs.streaming.connection import EventSource, Open
from replicate_async.runs.streaming.event_batch import EventBatch, MixedBatch, OutputBatch
from replicate_async.runs.streaming.events import (
    OutputEvent,
    StreamEvent,
    done_reason,
    error_detail,
    typed,
)
from replicate_async.runs.streaming.output_cursor import OutputCursor
from replicate_async.runs.waiting.run_api import PREDICTION_TIMEOUT
from replicate_async.runs.waiting.watch import PredictionWaits, RunUpdates
from replicate_async.schemas import Prediction

LARGEST_EVENT: Final = 16 * 1024 * 1024
"""Bytes that one event may have."""

_MAX_FAILURES: Final = 5


class StreamDeps(NamedTuple):
    """What a stream needs of the client."""

    open: Open
    get: Callable[[str], Awaitable[Prediction]]
    cancel: Callable[[str], Awaitable[Prediction]]
    waits: PredictionWaits[Prediction]
    files: FileSource | None = None
    """Where output files come from; without it they are URLs."""


class StreamReader:
    """The events of *prediction* after the one with *last_event_id*, in batches.

    `arrivals` is the batch at hand, and whoever takes an event from it has had it; `more` waits for
    the next batch.
    """

    __slots__ = (
        "_delivered",
        "_detail",
        "_earlier_parts",
        "_file_parts",
        "_next",
        "_poll",
        "_reading",
        "_reason",
        "_runs",
        "_source",
        "_watch",
        "arrivals",
        "closed",
        "gives_files",
        "over",
        "prediction",
    )

    def __init__(
        self,
        runs: StreamDeps,
        prediction: Prediction,
        *,
        last_event_id: str,
        received: int | None,
        poll: Poll,
        largest: int,
    ) -> None:
        self._runs = runs
        self.prediction: Prediction = prediction
        self._poll = poll
        self._watch: RunUpdates[Prediction] | None = None
        self.arrivals: EventBatch = MixedBatch([], last_event_id)
        self._reason: str | None = None
        self._detail = ""
        self._reading = False
        self._next: list[Event] = []
        self.over: bool = False
        """Whether the end of the run is known, though the reader may not have got there."""
        self.closed: bool = False
        url = prediction.urls.stream
        self._file_parts = _leads_to_files(url or "")
        # None when the parts before are not known.
        self._earlier_parts: int | None = None if last_event_id else 0
        self.gives_files: bool = runs.files is not None and (self._file_parts or not url)
        """Whether parts of the output may be files."""
        self._source: EventSource | None = None
        if url:
            self._source = EventSource(runs.open, url, last_event_id=last_event_id, limit=largest)
        self._delivered = OutputCursor(
            streamed=bool(url),
            files=self._file_parts,
            resumed=bool(last_event_id),
            received=received,
        )

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was taken."""
        return self.arrivals.taken_id

    def with_files(self, arrivals: EventBatch) -> Iterator[StreamEvent]:
        """Iterate over what was not taken, as typed events, with files where there are some."""
        if isinstance(arrivals, OutputBatch):
            return  # there are none
        for event in arrivals.remaining:
            if event.event == "output":
                yield self._with_file(event, arrivals)
            else:
                yield typed(event)

    def _with_file(self, event: Event, arrivals: MixedBatch) -> OutputEvent:
        source, data = self._runs.files, event.data
        if source is None:
            return OutputEvent(data, event.id)
        if not (is_url(data) if self._file_parts else is_file_url(data, source.base)):
            return OutputEvent(data, event.id)
        place = None
        if self._earlier_parts is not None:
            place = (self._earlier_parts + arrivals.outputs_taken - 1,)
        return OutputEvent(FileOutput(data).bound(source, self.prediction.id, place), event.id)

    def close(self) -> None:
        """Close the connection at once; nothing can be read any more but what is ready."""
        self.closed = True
        if self._watch is not None:
            self._watch.close()
        self._drop_source()

    async def more(self) -> bool:
        """Wait for events, which are the `arrivals` then; False at the end of a success."""
        if self._next:
            self.arrivals = MixedBatch(self._next, self.arrivals.last_id)
            self._next = []
            return True
        while not self.over:
            if self._reading:
                raise ClientStateError("The stream is being read by another task; one can.")
            self._reading = True
            try:
                source = self._source
                events: Received
                if source is None:
                    events = await self._ask()
                else:
                    # Right here: whatever stands between takes its time for every event.
                    events = await source.read() or await self._reconsider(source)
            except StreamResponseError as refusal:
                events = await self._consult(refusal)
            except StreamLimitError as error:
                self._delivered.told(error)
                raise
            finally:
                self._reading = False
            if events:
                self._hand_over(events)
                return True
        await self._raise_failure()
        return False

    def _hand_over(self, events: Received) -> None:
        before = self.arrivals
        if isinstance(events, Outputs):
            if not self.gives_files:
                self.arrivals = OutputBatch(events, before.last_id)
                if events.then:
                    self._look_through(events.then)
                    self._next = events.then
                self._delivered.add(events)
                return
            events = events.events()
        if self._earlier_parts is not None and isinstance(before, MixedBatch):
            self._earlier_parts += before.outputs
        self._look_through(events)
        self.arrivals = MixedBatch(events, before.last_id)
        self._delivered.add(events)

    def _look_through(self, events: list[Event]) -> None:
        for at, event in enumerate(events):
            if event.event == "done":
                del events[at + 1 :]
                self._reason = done_reason(event.data)
                self.over = True
                self._drop_source()
                return
            if event.event == "error":
                self._detail = error_detail(event.data)

    async def _reconsider(self, source: EventSource) -> list[Event]:
        """Decide how to go on with a connection that ended, or has brought nothing for long."""
        if self.closed:
            return []
        if not source.connected:
            marks = self._delivered.marks()
            if marks is None or not source.resume(marks):
                # Without ids a server can only begin again: the run alone has the rest.
                self._drop_source()
                return []
        if source.check_due or not source.progressed:
            return await self._consult(None)
        return []

    async def _consult(self, refusal: StreamResponseError | None) -> list[Event]:
        """Ask for the run itself when its stream brings nothing.

        Returns its rest when it has ended. Raises *refusal*, or `StreamIncompleteError`, when
        there is no way on.
        """
        try:
            prediction = await self._runs.get(self.prediction.id)
        except (APIStatusError, APIConnectionError, DecodeError):
            pass
        else:
            self.prediction = prediction
            if prediction.done:
                self._drop_source()
                return self._delivered.rest_of(prediction)
        if refusal is not None:
            raise self._delivered.told(refusal)
        source = self._source
        if source is None:
            return []
        source.checked()
        silent = source.quiet_for
        if source.failures > _MAX_FAILURES or silent >= PREDICTION_TIMEOUT:
            incomplete = StreamIncompleteError(
                f"The stream of {self.prediction.id} brought nothing for {silent:.0f} s and "
                f"{source.failures} connections, and no end of the prediction is to be seen; go "
                "on later with predictions.stream(id, last_event_id=...)."
            )
            raise self._delivered.told(incomplete)
        return []

    async def _ask(self) -> list[Event]:
        """Follow a run without a stream: ask for it, and return what was added."""
        if self.closed:
            raise ClientStateError("The stream is closed; read it inside 'async with'.")
        prediction = self.prediction
        if self._watch is None:
            self._watch = self._runs.waits.watch(
                prediction.id, last=prediction, timeout=None, poll=self._poll
            )
        elif not prediction.done:
            seen = await anext(self._watch, None)
            if seen is None:
                raise ClientStateError("The stream was closed while it was read.")
            self.prediction = prediction = seen
        return self._delivered.rest_of(prediction)

    async def _raise_failure(self) -> None:
        """Raise the error for a run that ended without success."""
        if self._reason is None:
            return
        try:
            prediction = await self.final()
        except APIStatusError:
            said = self._detail or f"done: {self._reason}"
            failure = StreamError(f"{self.prediction.id} ended without success ({said}).")
            raise self._delivered.told(failure) from None
        if prediction.status != "succeeded":
            if self._detail and not prediction.error:
                prediction = msgspec.structs.replace(prediction, error=self._detail)
            raise prediction_error(prediction)

    def _drop_source(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    async def final(self) -> Prediction:
        """Return the prediction as it ended; what was not read before is not read any more."""
        prediction = self.prediction
        self._drop_source()
        taken_id = self.arrivals.taken_id
        self.arrivals.drop()
        self.arrivals = MixedBatch([], taken_id)
        self._next = []
        if not prediction.done:
            self.prediction = prediction = await self._runs.waits.wait(
                prediction.id,
                last=None,
                timeout=PREDICTION_TIMEOUT,
                poll=self._poll,
            )
        self.over = True
        return prediction


def _leads_to_files(url: str) -> bool:
    # By hand: the URL is the server's, and urlsplit raises for some that are none.
    return "/".join(url.split("/")[3:5]) == "v1/files"
