"""Streaming the output of a prediction, exactly: nothing lost, repeated or out of order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Final, Generic, Literal, Self, TypeAlias, TypeVar

from replicate_async.core.endpoint import shorten
from replicate_async.core.poll import Poll
from replicate_async.errors import ClientStateError, InvalidArgumentError, WaitTimeout
from replicate_async.runs.run import add_outcome, cancel_quietly, create_or_cancel
from replicate_async.runs.streaming.connection import can_be_sent
from replicate_async.runs.streaming.event_batch import EventBatch
from replicate_async.runs.streaming.events import StreamEvent
from replicate_async.runs.streaming.reader import StreamDeps, StreamReader
from replicate_async.runs.waiting.wait_errors import runs_on
from replicate_async.runs.waiting.wait_options import (
    PREDICTION_QUEUE_TIMEOUT,
    PREDICTION_TIMEOUT,
    WaitOptions,
)
from replicate_async.schemas import Prediction
from replicate_async.tracing import NO_SPAN, RunSpan

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent

T = TypeVar("T")
OnExit: TypeAlias = Literal["cancel", "continue"]
"""Whether leaving a stream or a batch before its end cancels what runs."""


def check_on_exit(on_exit: OnExit) -> OnExit:
    """Return *on_exit*; raises `InvalidArgumentError` if it is neither of the two."""
    if on_exit not in ("cancel", "continue"):  # not a set: the value may be unhashable
        raise InvalidArgumentError(f'on_exit={shorten(on_exit)} must be "cancel" or "continue".')
    return on_exit


class Stream:
    """The events of a prediction as they arrive; made by ``client.stream``.

    Use it with ``async with``, and iterate over it: over typed events, over ``text()``, or over
    ``raw()`` events. A second loop continues where the first stopped. A connection that breaks is
    resumed from the last event; a model without a stream is polled; a stream that cannot be resumed
    is completed from the prediction. The loop ends with the output. A run that fails raises
    `PredictionFailed` after its last event, a canceled one `PredictionCanceled`.

    Leaving the block early closes the connection and, with ``on_exit="cancel"``, cancels the
    prediction within 5 seconds. After an error of the stream itself the prediction goes on:
    ``predictions.wait(error.prediction)`` has its output. A slow reader slows the server down;
    memory stays bounded.
    """

    def __init__(
        self,
        deps: StreamDeps,
        start: Callable[[], Awaitable[Prediction]],
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
        start_span: Callable[[], RunSpan] = RunSpan,
        on_exit: OnExit,
        last_event_id: str = "",
        received: int | None = None,
        poll: Poll | None = None,
    ) -> None:
        if not can_be_sent(last_event_id):
            raise InvalidArgumentError(
                f"last_event_id={shorten(last_event_id)} is not the id of an event as it came."
            )
        self._deps = deps
        self._start: Callable[[], Awaitable[Prediction]] | None = start
        self._prepare = prepare
        self._start_span = start_span
        self._span = NO_SPAN
        self._on_exit = on_exit
        self._first_event_id = last_event_id
        self._make_reader = partial(
            StreamReader,
            deps,
            last_event_id=last_event_id,
            received=received,
            wait_options=WaitOptions(PREDICTION_TIMEOUT, PREDICTION_QUEUE_TIMEOUT, poll),
        )
        self._reader: StreamReader | None = None

    @property
    def prediction(self) -> Prediction:
        """The prediction as it was last fetched; `final` returns it after its end."""
        return self._entered().prediction

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was read.

        ``predictions.stream(..., last_event_id=)`` continues after it. It is empty for events
        without ids, such as those of a run that is polled.
        """
        return self._first_event_id if self._reader is None else self._reader.last_event_id

    async def __aenter__(self) -> Self:
        start, self._start = self._start, None
        if start is None:
            raise ClientStateError("A stream is entered once; make another one.")
        self._span = span = self._start_span()
        try:
            with span.active():
                if self._prepare is not None:
                    await self._prepare()
                if self._on_exit == "cancel":
                    prediction = await create_or_cancel(start(), self._deps.cancel)
                else:
                    prediction = await start()
        except BaseException as error:
            span.end(error)
            raise
        self._reader = self._make_reader(prediction, span=span)
        return self

    async def __aexit__(
        self, _kind: object, error: BaseException | None, _traceback: object
    ) -> None:
        await self._leave(error)

    async def aclose(self) -> None:
        """Close the connection; with ``on_exit="cancel"``, cancel the prediction if it runs."""
        await self._leave(None)

    async def _leave(self, error: BaseException | None) -> None:
        reader = self._reader
        if reader is None or reader.closed:
            return
        reader.close()
        try:
            is_needed = error is not None and runs_on(error, reader.prediction.id)
            if self._on_exit == "cancel" and not (reader.finished or is_needed):
                await self._cancel(reader, error)
        finally:
            self._span.seen(reader.prediction)
            self._span.end(error)

    async def _cancel(self, reader: StreamReader, error: BaseException | None) -> None:
        run_id = reader.prediction.id
        with self._span.active():
            answer = await cancel_quietly(self._deps.cancel, run_id)
        reader.prediction = answer or reader.prediction
        if isinstance(error, WaitTimeout) and str(error).startswith(f"{run_id} "):
            add_outcome(error, run_id, answer)

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        reader = self._entered()
        return _EventIterator(reader, reader.with_files if reader.may_have_files else _typed)

    def text(self) -> AsyncIterator[str]:
        """Iterate over the parts of the output alone: chunks of text, or URLs of files."""
        return _EventIterator(self._entered(), _texts)

    def raw(self) -> AsyncIterator[ServerSentEvent]:
        """Iterate over the events as httpx-sse has them, with ``done`` at the end."""
        return _EventIterator(self._entered(), _raw)

    async def final(self) -> Prediction:
        """Wait for the end and return the prediction, also one that failed.

        Unread events are dropped.

        Example::

            async with client.stream("owner/name", {"prompt": "Hi"}) as stream:
                prediction = await stream.final()

        Raises:
            ClientStateError: The stream is not entered.
        """
        return await self._entered().final()

    def _entered(self) -> StreamReader:
        if self._reader is None:
            raise ClientStateError(
                "The stream has not begun; write 'async with client.stream(...) as stream:' and "
                "read it inside."
            )
        return self._reader

    def __repr__(self) -> str:
        reader = self._reader
        if reader is None:
            return "<Stream not begun>"
        state = "over" if reader.finished else "closed" if reader.closed else "open"
        return f"<Stream {reader.prediction.id} {state}>"


_typed: Final[Callable[[EventBatch], Iterator[StreamEvent]]] = methodcaller("typed")
_texts: Final[Callable[[EventBatch], Iterator[str]]] = methodcaller("texts")
_raw: Final[Callable[[EventBatch], Iterator[ServerSentEvent]]] = methodcaller("raw")


# A class and not an async generator: the event loop closes an abandoned generator in a task of its
# own, some time later, and a generator has ended once a read of it was cancelled.


class _EventIterator(Generic[T]):
    """Iterates over the events of a reader; *convert* makes an iterator over a batch."""

    __slots__ = ("_batch", "_convert", "_reader", "_ready")

    def __init__(self, reader: StreamReader, convert: Callable[[EventBatch], Iterator[T]]) -> None:
        self._reader = reader
        self._convert = convert
        self._batch = reader.batch
        self._ready = convert(reader.batch)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        # A `for` that returns at once takes one event, faster than `next` with a default.
        for event in self._ready:
            return event
        reader = self._reader
        while True:
            if self._batch is reader.batch and not await reader.next_batch():
                raise StopAsyncIteration
            self._batch = reader.batch
            self._ready = self._convert(self._batch)
            for event in self._ready:
                return event
