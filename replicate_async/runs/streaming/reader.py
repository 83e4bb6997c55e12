"""Reading the events of one prediction to its end, from its stream or by polling."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple, Self

import msgspec

from replicate_async.core.sse import Event, Outputs, Received
from replicate_async.errors import (
    APIConnectionError,
    APIStatusError,
    ClientStateError,
    DecodeError,
    RedirectError,
    StreamError,
    StreamIncompleteError,
    StreamLimitError,
    StreamResponseError,
    prediction_error,
)
from replicate_async.files.file_source import FileSource
from replicate_async.files.find import is_file_url, is_url
from replicate_async.runs.streaming.connection import ByteStream, EventSource, Open
from replicate_async.runs.streaming.event_batch import EventBatch, MixedBatch, OutputBatch
from replicate_async.runs.streaming.events import (
    OutputEvent,
    StreamEvent,
    done_reason,
    error_detail,
    typed,
)
from replicate_async.runs.streaming.output_cursor import OutputCursor
from replicate_async.runs.waiting.run_api import check_run
from replicate_async.runs.waiting.wait_options import PREDICTION_TIMEOUT, WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits, RunUpdates
from replicate_async.schemas import Prediction
from replicate_async.tracing import NO_SPAN, RunSpan

_MAX_FAILURES: Final = 5


class StreamDeps(NamedTuple):
    """The parts of a client that a stream uses."""

    open: Open
    get: Callable[[str], Awaitable[Prediction]]
    cancel: Callable[[str], Awaitable[Prediction]]
    waits: PredictionWaits[Prediction]
    files: FileSource | None = None
    """Opens output files; without it they are URLs."""
    redact: Callable[[str], str] = str
    """Removes the API token from a text."""

    def within(self, span: RunSpan) -> Self:
        """Return a copy whose requests belong to *span*."""

        async def open_stream(url: str, last_event_id: str) -> ByteStream:
            with span.active():
                return await self.open(url, last_event_id)

        async def get(run_id: str) -> Prediction:
            with span.active():
                return await self.get(run_id)

        return self._replace(open=open_stream, get=get)


class StreamReader:
    """Reads the events of *prediction* after the one with *last_event_id*, in batches.

    `batch` is the current batch, and an event taken from it counts as read. `next_batch` waits for
    the next one.
    """

    def __init__(
        self,
        deps: StreamDeps,
        prediction: Prediction,
        *,
        last_event_id: str,
        received: int | None,
        wait_options: WaitOptions,
        span: RunSpan = NO_SPAN,
    ) -> None:
        self._span = None if span is NO_SPAN else span
        if self._span is not None:
            deps = deps.within(span)
        self._deps = deps
        self.prediction: Prediction = prediction
        self._wait_options = wait_options
        self._updates: RunUpdates[Prediction] | None = None
        self.batch: EventBatch = MixedBatch([], last_event_id)
        self._done_reason: str | None = None
        self._error_detail = ""
        self._reading = False
        self._next_events: list[Event] = []
        self.finished: bool = False
        """Whether the end of the run is known; events may be left in the batch."""
        self.closed: bool = False
        url = prediction.urls.stream
        self._streams_files = _is_stream_of_files(url or "")
        self._resumed = bool(last_event_id)
        self.may_have_files: bool = deps.files is not None and (self._streams_files or not url)
        """Whether parts of the output may be files."""
        self._source: EventSource | None = None
        if url:
            self._source = EventSource(deps.open, url, last_event_id=last_event_id)
        self._cursor = OutputCursor(
            streamed=bool(url),
            files=self._streams_files,
            resumed=self._resumed,
            received=received,
        )

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was taken."""
        return self.batch.taken_id

    def with_files(self, batch: EventBatch) -> Iterator[StreamEvent]:
        """Iterate over the remaining events of *batch*, typed, with `FileOutput` for files."""
        if isinstance(batch, OutputBatch):
            return  # never made when there may be files
        for event in batch.remaining:
            if event.event == "output":
                yield self._with_file(event, batch)
            else:
                yield typed(event)

    def _with_file(self, event: Event, batch: MixedBatch) -> OutputEvent:
        source, data = self._deps.files, event.data
        if source is None:
            return OutputEvent(data, event.id)
        if not (is_url(data) if self._streams_files else is_file_url(data, source.base)):
            return OutputEvent(data, event.id)
        place = None  # unknown in a resumed stream
        if not self._resumed:
            place = (self._cursor.count - batch.outputs_left - 1,)
        return OutputEvent(source.file(data, self.prediction.id, place), event.id)

    def close(self) -> None:
        """Close the connection at once; only the rest of the batch can still be read."""
        self.closed = True
        if self._updates is not None:
            self._updates.close()
        self._close_source()

    async def next_batch(self) -> bool:
        """Wait for events and make them `batch`; returns False at the end of a successful run."""
        if self._next_events:
            self.batch = MixedBatch(self._next_events, self.batch.last_id)
            self._next_events = []
            return True
        try:
            while not self.finished:
                if self._reading:
                    raise ClientStateError(
                        "The stream is being read by another task; read it in one."
                    )
                self._reading = True
                try:
                    source = self._source
                    events: Received
                    if source is None:
                        events = await self._next_poll()
                    else:
                        # Called directly: a coroutine between costs time for every event.
                        events = await source.read() or await self._after_read(source)
                except StreamResponseError as refusal:
                    events = await self._fetch_rest(refusal)
                except StreamLimitError as error:
                    self._cursor.with_text(error)
                    raise
                finally:
                    self._reading = False
                if events:
                    self._set_batch(events)
                    if self._span is not None:
                        has_output = isinstance(events, Outputs) or events[0].event == "output"
                        self._span.received(has_output=has_output, is_last=self.finished)
                    return True
        except (StreamError, APIConnectionError, RedirectError) as error:
            error.prediction = self.prediction  # it runs on
            raise
        await self._raise_failure()
        return False

    def _set_batch(self, events: Received) -> None:
        last_id = self.batch.last_id
        if isinstance(events, Outputs):
            if not self.may_have_files:
                self.batch = OutputBatch(events, last_id)
                if events.then:
                    self._note_end(events.then)
                    self._next_events = events.then
                self._cursor.add(events)
                return
            events = events.events()
        self._note_end(events)
        self.batch = MixedBatch(events, last_id)
        self._cursor.add(events)

    def _note_end(self, events: list[Event]) -> None:
        """Note an error and the end of the run in *events*, and drop events after the end."""
        for index, event in enumerate(events):
            if event.event == "done":
                del events[index + 1 :]
                self._done_reason = done_reason(event.data)
                self.finished = True
                self._close_source()
                return
            if event.event == "error":
                self._error_detail = self._deps.redact(error_detail(event.data))

    async def _after_read(self, source: EventSource) -> list[Event]:
        """Decide how to go on after a read without events."""
        if self.closed:
            return []
        if not source.connected:
            seen = self._cursor.seen_ids()
            if seen is None or not source.resume(seen):
                # Without ids a server can only start again, so the run is polled for the rest.
                self._close_source()
                return []
        if source.check_due or not source.progressed:
            return await self._fetch_rest(None)
        return []

    async def _fetch_rest(self, refusal: StreamResponseError | None) -> list[Event]:
        """Fetch the prediction, and return the rest of its events if it has ended.

        Raises *refusal*, or `StreamIncompleteError` when the stream has brought nothing for too
        long.
        """
        try:
            run_id = self.prediction.id
            prediction = check_run(await self._deps.get(run_id), run_id)
        except (APIStatusError, APIConnectionError, DecodeError):
            pass
        else:
            self.prediction = prediction
            if prediction.done:
                self._deps.waits.tracker.record_end(prediction)
                self._close_source()
                return self._cursor.rest_of(prediction)
        if refusal is not None:
            raise self._cursor.with_text(refusal)
        source = self._source
        if source is None:
            return []
        source.checked()
        silent = source.quiet_for
        if source.failures > _MAX_FAILURES or silent >= PREDICTION_TIMEOUT:
            incomplete = StreamIncompleteError(
                f"The stream of {self.prediction.id} brought nothing for {silent:.0f} s and "
                f"{source.failures} connections, and the prediction has not ended; continue later "
                "with predictions.stream(id, last_event_id=...)."
            )
            raise self._cursor.with_text(incomplete)
        return []

    async def _next_poll(self) -> list[Event]:
        """Wait for a change of a run without a stream, and return the new events."""
        if self.closed:
            raise ClientStateError("The stream is closed; read it inside 'async with'.")
        prediction = self.prediction
        if self._updates is None:
            self._updates = self._deps.waits.watch(
                prediction.id, self._wait_options, last=prediction
            )
        elif not prediction.done:
            update = await anext(self._updates, None)
            if update is None:
                raise ClientStateError("The stream was closed while it was read.")
            self.prediction = prediction = update
        return self._cursor.rest_of(prediction)

    async def _raise_failure(self) -> None:
        """Raise the error for a run that ended without success."""
        if self._done_reason is None:
            return
        try:
            prediction = await self.final()
        except APIStatusError:
            reason = self._error_detail or f"done: {self._done_reason}"
            failure = StreamError(f"{self.prediction.id} ended without success ({reason}).")
            raise self._cursor.with_text(failure) from None
        if prediction.status != "succeeded":
            if self._error_detail and not prediction.error:
                prediction = msgspec.structs.replace(prediction, error=self._error_detail)
            raise prediction_error(prediction)

    def _close_source(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    async def final(self) -> Prediction:
        """Wait for the end and return the prediction; unread events are dropped."""
        prediction = self.prediction
        self._close_source()
        taken_id = self.batch.taken_id
        deque(self.batch.texts(), maxlen=0)  # ends the iterators over it
        self.batch = MixedBatch([], taken_id)
        self._next_events = []
        if not prediction.done:
            self.prediction = prediction = await self._deps.waits.wait(
                prediction.id, self._wait_options
            )
        self.finished = True
        return prediction


def _is_stream_of_files(url: str) -> bool:
    # urlsplit raises for some malformed URLs, and the server chooses this one.
    return "/".join(url.split("/")[3:5]) == "v1/files"
