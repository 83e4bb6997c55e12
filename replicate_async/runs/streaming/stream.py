"""A run's output as it is made, exact: nothing lost, nothing repeated, nothing out of order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from operator import methodcaller
from typing import TYPE_CHECKING, Final, Generic, Literal, Self, TypeVar

from replicate_async.core.poll import Poll
from replicate_async.errors import ClientStateError, InvalidArgumentError
from replicate_async.runs.run import cancel_quietly, create_or_cancel
from replicate_async.runs.streaming.connection import can_be_sent
from replicate_async.runs.streaming.event_batch import EventBatch
from replicate_async.runs.streaming.events import StreamEvent
from replicate_async.runs.streaming.reader import LARGEST_EVENT, StreamDeps, StreamReader
from replicate_async.runs.waiting.run_api import check_poll
from replicate_async.schemas import Prediction

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent

T = TypeVar("T")
OnExit = Literal["cancel", "continue"]


def check_on_exit(on_exit: OnExit) -> OnExit:
    """Return *on_exit* if it is one of the two; raises `InvalidArgumentError`."""
    if on_exit not in ("cancel", "continue"):  # a tuple, as a set would hash what it was given
        raise InvalidArgumentError(f'on_exit={on_exit!r} must be "cancel" or "continue".')
    return on_exit


class Stream:
    """The events of a prediction, as they come; made by ``client.stream`` and its like.

    Use it with ``async with``, and iterate over it: over typed events, over ``text()`` or over
    ``raw()`` events; a loop that was left is taken up by the next one. A connection that breaks is
    made anew and resumed where it broke; a model without a stream is followed by polling; what
    cannot be resumed is finished from the prediction itself. The end of the loop is the end of the
    output: a run that fails raises `PredictionFailed` after its last event, a canceled one
    `PredictionCanceled`.

    Leaving early closes the connection at once and, with ``on_exit="cancel"``, cancels the
    prediction within 5 seconds. A slow reader makes the server wait: nothing piles up here.
    """

    __slots__ = (
        "__weakref__",
        "_first_event_id",
        "_follower",
        "_largest_event",
        "_on_exit",
        "_poll",
        "_prepare",
        "_received",
        "_runs",
        "_start",
    )

    def __init__(
        self,
        runs: StreamDeps,
        start: Callable[[], Awaitable[Prediction]],
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
        on_exit: OnExit,
        last_event_id: str = "",
        received: int | None = None,
        poll: Poll | None = None,
        largest_event: int = LARGEST_EVENT,
    ) -> None:
        if not can_be_sent(last_event_id):
            raise InvalidArgumentError(
                "last_event_id has control characters; pass the id of an event as it came."
            )
        self._runs = runs
        self._start: Callable[[], Awaitable[Prediction]] | None = start
        self._prepare = prepare
        self._on_exit = on_exit
        self._first_event_id = last_event_id
        self._received = received
        self._poll = check_poll(poll)
        self._largest_event = largest_event
        self._follower: StreamReader | None = None

    @property
    def prediction(self) -> Prediction:
        """The prediction as it was last seen; `final` fetches how it ended."""
        return self._begun().prediction

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was handed over.

        Passed to ``predictions.stream(..., last_event_id=)`` it goes on with the next one. Empty
        for events that have no id, such as those of a run that is followed by polling.
        """
        follower = self._follower
        return self._first_event_id if follower is None else follower.last_event_id

    async def __aenter__(self) -> Self:
        start, self._start = self._start, None
        if start is None:
            raise ClientStateError("A stream is entered once; make another one.")
        if self._prepare is not None:
            await self._prepare()
        if self._on_exit == "cancel":
            prediction = await create_or_cancel(start(), self._runs.cancel)
        else:
            prediction = await start()
        self._follower = StreamReader(
            self._runs,
            prediction,
            last_event_id=self._first_event_id,
            received=self._received,
            poll=self._poll,
            largest=self._largest_event,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, and cancel the prediction if it runs and that was asked for."""
        follower = self._follower
        if follower is None or follower.closed:
            return
        follower.close()
        if self._on_exit == "cancel" and not follower.over:
            await cancel_quietly(self._runs.cancel, follower.prediction.id)

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        follower = self._begun()
        return _EventIterator(follower, follower.with_files if follower.gives_files else _typed)

    def text(self) -> AsyncIterator[str]:
        """Iterate over the chunks of text alone, or over the URLs of files."""
        return _EventIterator(self._begun(), _texts)

    def raw(self) -> AsyncIterator[ServerSentEvent]:
        """Iterate over the events as httpx-sse knows them, ``done`` among them."""
        return _EventIterator(self._begun(), _raw)

    async def final(self) -> Prediction:
        """Return the prediction as it ended, also when it failed; waits for the end if need be.

        What was not read of the stream is not read any more.
        """
        return await self._begun().final()

    def _begun(self) -> StreamReader:
        if self._follower is None:
            raise ClientStateError(
                "The stream has not begun; write 'async with client.stream(...) as stream:' and "
                "read it inside."
            )
        return self._follower

    def __repr__(self) -> str:
        follower = self._follower
        if follower is None:
            return "<Stream not begun>"
        state = "over" if follower.over else "closed" if follower.closed else "open"
        return f"<Stream {follower.prediction.id} {state}>"


_typed: Final[Callable[[EventBatch], Iterator[StreamEvent]]] = methodcaller("typed")
_texts: Final[Callable[[EventBatch], Iterator[str]]] = methodcaller("texts")
_raw: Final[Callable[[EventBatch], Iterator[ServerSentEvent]]] = methodcaller("raw")


# A class and not an asynchronous generator: a generator that a `break` leaves half read is closed
# by a task of its own, some time later, and one whose reading was cancelled has ended.


class _EventIterator(Generic[T]):
    """Takes one event after the other, in one *way*."""

    __slots__ = ("_arrivals", "_follower", "_ready", "_way")

    def __init__(self, follower: StreamReader, way: Callable[[EventBatch], Iterator[T]]) -> None:
        self._follower = follower
        self._way = way
        self._arrivals = follower.arrivals
        self._ready = way(follower.arrivals)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        # A `for` that returns at once takes one event, and costs less than `next` with a default.
        for event in self._ready:
            return event
        follower = self._follower
        while True:
            if self._arrivals is follower.arrivals and not await follower.more():
                raise StopAsyncIteration
            self._arrivals = follower.arrivals
            self._ready = self._way(self._arrivals)
            for event in self._ready:
                return event
