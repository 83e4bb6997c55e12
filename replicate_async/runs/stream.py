"""A run's output as it is made, exact: nothing lost, nothing repeated, nothing out of order."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from replicate_async.core.poll import Poll
from replicate_async.core.sse import Event
from replicate_async.errors import (
    APIConnectionError,
    APIStatusError,
    ClientStateError,
    InvalidArgumentError,
    StreamError,
    StreamIncomplete,
    StreamResponseError,
    prediction_error,
)
from replicate_async.runs.events import StreamEvent, done_reason, error_detail, typed
from replicate_async.runs.output import Delivered
from replicate_async.runs.run import cancel_quietly, created
from replicate_async.runs.source import EventSource, Open
from replicate_async.runs.wait import PREDICTION_TIMEOUT, wait_for
from replicate_async.schemas import Prediction

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent

OnExit = Literal["cancel", "continue"]

LARGEST_EVENT: Final = 16 * 1024 * 1024
"""Bytes that one event may have."""

_MOST_FRUITLESS: Final = 5


def check_on_exit(on_exit: OnExit) -> OnExit:
    """Return *on_exit* if it is one of the two; raises `InvalidArgumentError`."""
    if on_exit not in {"cancel", "continue"}:
        raise InvalidArgumentError(f'on_exit={on_exit!r} must be "cancel" or "continue".')
    return on_exit


class Runs(NamedTuple):
    """What a stream needs of the client."""

    open: Open
    get: Callable[[str], Awaitable[Prediction]]
    cancel: Callable[[str], Awaitable[Prediction]]


class Stream:
    """The events of a prediction, as they come; made by ``client.stream`` and its like.

    Use it with ``async with``, and iterate over it: over typed events, over ``text()`` or over
    ``raw()`` events. A connection that breaks is made anew and resumed where it broke; a model
    without a stream is followed by polling; what cannot be resumed is finished from the prediction
    itself. The end of the loop is the end of the output: a run that fails raises `PredictionFailed`
    after its last event, a canceled one `PredictionCanceled`.

    Leaving early closes the connection at once and, with ``on_exit="cancel"``, cancels the
    prediction within 5 seconds. A slow reader makes the server wait: nothing piles up here.
    """

    def __init__(
        self,
        runs: Runs,
        start: Callable[[], Awaitable[Prediction]],
        *,
        on_exit: OnExit,
        last_event_id: str = "",
        poll: Poll | None = None,
    ) -> None:
        self._runs = runs
        self._start = start
        self._on_exit = on_exit
        self._poll = poll or Poll()
        self._first_event_id = last_event_id
        self._prediction: Prediction | None = None
        self._source: EventSource | None = None
        self._ready: deque[Event] = deque()
        self._delivered = Delivered()
        self._reason: str | None = None
        self._detail = ""
        self._over = False
        self._closed = False
        self._heard_at = self._changed_at = monotonic()
        self._polls = 0

    @property
    def prediction(self) -> Prediction:
        """The prediction as it was last seen; `final` fetches how it ended."""
        if self._prediction is None:
            raise ClientStateError("The stream has not begun; enter it with 'async with'.")
        return self._prediction

    @property
    def last_event_id(self) -> str:
        """What to pass to ``predictions.stream(..., last_event_id=)`` to go on after this.

        It covers the events that were read off the connection, and is empty for a run that is
        followed by polling.
        """
        return self._source.last_event_id if self._source is not None else self._first_event_id

    async def __aenter__(self) -> Self:
        prediction = await created(self._start(), self._runs.cancel)
        self._prediction = prediction
        self._heard_at = self._changed_at = monotonic()
        url = prediction.urls.stream
        if url:
            self._delivered.files = urlsplit(url).path.startswith("/v1/files/")
            self._delivered.unknown = bool(self._first_event_id)
            self._source = EventSource(
                self._runs.open, url, last_event_id=self._first_event_id, limit=LARGEST_EVENT
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, and cancel the prediction if it runs and that was asked for."""
        if self._closed:
            return
        self._closed = True
        self._drop_source()
        if self._on_exit == "cancel" and not self._over and self._prediction is not None:
            await cancel_quietly(self._runs.cancel, self._prediction.id)

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self._events()

    async def _events(self) -> AsyncIterator[StreamEvent]:
        while event := await self._next():
            yield typed(event)

    async def text(self) -> AsyncIterator[str]:
        """Iterate over the chunks of text alone."""
        while event := await self._next():
            if event.event == "output":
                yield event.data

    async def raw(self) -> AsyncIterator[ServerSentEvent]:
        """Iterate over the events as httpx-sse knows them, ``done`` among them."""
        # Imported where it is asked for: it brings httpx along.
        from httpx_sse import ServerSentEvent  # noqa: PLC0415

        while event := await self._next():
            yield ServerSentEvent(
                event=event.event, data=event.data, id=event.id, retry=event.retry
            )

    async def final(self) -> Prediction:
        """Return the prediction as it ended, also when it failed; waits for the end if need be.

        What was not read of the stream is not read any more.
        """
        self._drop_source()
        if not self.prediction.done:
            self._prediction = await wait_for(
                self._runs.get,
                self.prediction.id,
                last=None,
                timeout=PREDICTION_TIMEOUT,
                poll=self._poll,
            )
        self._over = True
        return self.prediction

    async def _next(self) -> Event | None:
        """Return the next event, or None at the end of a success."""
        while not self._ready:
            if self._over:
                await self._raise_failure()
                return None
            if self._closed or self._prediction is None:
                raise ClientStateError(
                    "The stream is closed, or was not entered; read it inside 'async with'."
                )
            await (self._ask() if self._source is None else self._listen(self._source))
        return self._ready.popleft()

    async def _listen(self, source: EventSource) -> None:
        """Take in what comes over the connection; look after the run if nothing does."""
        try:
            events = await source.read()
        except StreamResponseError as refusal:
            await self._consult(refusal)
            return
        if events:
            self._heard_at = monotonic()
            self._take(events)
        elif self._delivered.unmarked:
            # Without ids a server can only begin again: the rest is to be had from the run alone.
            self._drop_source()
        elif source.brought_nothing:
            await self._consult(None)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if event.event == "output":
                self._delivered.add(event.data, marked=event.has_id)
            elif event.event == "logs":
                self._delivered.logged += len(event.data)
            elif event.event == "error":
                self._detail = error_detail(event.data)
            self._ready.append(event)
            if event.event == "done":
                self._reason = done_reason(event.data)
                self._over = True
                if self._source is not None:
                    self._source.close()
                return

    async def _consult(self, refusal: StreamResponseError | None) -> None:
        """Ask for the run itself after a connection that brought nothing.

        Finishes from it when it has ended. Raises *refusal*, or `StreamIncomplete`, when there
        is no way on.
        """
        source = self._source
        fruitless = source.fruitless if source is not None else 0
        silent = monotonic() - self._heard_at
        try:
            prediction = await self._runs.get(self.prediction.id)
        except (APIStatusError, APIConnectionError):
            if refusal is None and fruitless <= _MOST_FRUITLESS and silent < PREDICTION_TIMEOUT:
                return
        else:
            self._prediction = prediction
            if prediction.done:
                self._drop_source()
                self._take(self._delivered.rest_of(prediction))
                return
        if refusal is not None:
            refusal.text = self._delivered.text
            raise refusal
        if fruitless > _MOST_FRUITLESS or silent >= PREDICTION_TIMEOUT:
            raise StreamIncomplete(
                f"The stream of {self.prediction.id} broke off {fruitless} times in a row, and the "
                "prediction has not ended; read on with predictions.stream(id, last_event_id=...).",
                text=self._delivered.text,
            )

    async def _ask(self) -> None:
        """Follow a run without a stream: ask for it, and take what was added."""
        prediction = self.prediction
        if self._polls or not prediction.done:
            self._polls += 1
            pause = self._poll.delay(
                prediction.status,
                monotonic() - self._changed_at,
                self._polls,
                random.random(),  # noqa: S311 - jitter is no secret
            )
            await asyncio.sleep(pause)
            prediction = await self._runs.get(prediction.id)
            if prediction.status != self.prediction.status:
                self._changed_at = monotonic()
            self._prediction = prediction
        self._polls += 1
        self._take(self._delivered.rest_of(prediction))

    async def _raise_failure(self) -> None:
        """Raise the error for a run that ended without success."""
        if self._reason is None:
            return
        try:
            prediction = await self.final()
        except APIStatusError:
            said = self._detail or f"done: {self._reason}"
            raise StreamError(
                f"{self.prediction.id} ended without success ({said}).", text=self._delivered.text
            ) from None
        if prediction.status != "succeeded":
            raise prediction_error(prediction)

    def _drop_source(self) -> None:
        if self._source is not None:
            self._first_event_id = self._source.last_event_id
            self._source.close()
            self._source = None

    def __repr__(self) -> str:
        state = "over" if self._over else "closed" if self._closed else "open"
        name = self._prediction.id if self._prediction is not None else "not begun"
        return f"<Stream {name} {state}>"
