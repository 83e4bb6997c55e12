"""The viewers of predictions: a prediction that no browser streams any more is cancelled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import TracebackType
from typing import Final, Self

from replicate_async.arguments import check_seconds
from replicate_async.client import Replicate
from replicate_async.errors import ClientStateError
from replicate_async.runs.run import cancel_quietly
from replicate_async.runs.streaming.events import DoneEvent, StreamEvent
from replicate_async.runs.streaming.stream import Stream
from replicate_async.schemas import Prediction
from replicate_async.web.resume import ResumePoint

GRACE_PERIOD: Final = 3.0
"""Seconds that a page may take to reconnect."""


class Viewers:
    """Counts the browsers that stream predictions of *client*, and cancels those without any.

    A page that is loaded again, or loses its connection for a moment, reconnects; a closed tab does
    not. Therefore a prediction is cancelled when no browser has streamed it for *grace_period*
    seconds. Only the browsers of one process are counted; with several processes, use
    `replicate_async.integrations.redis.RedisViewers`, which has the same methods. Use it with
    ``async with``, or call `aclose` at the end.

    Args:
        client: The client that made the predictions; it is not closed.
        grace_period: Seconds that a page may take to reconnect, up to a day; 3.

    Raises:
        InvalidArgumentError: *grace_period* is out of range.
    """

    def __init__(self, client: Replicate, *, grace_period: float = GRACE_PERIOD) -> None:
        check_seconds("grace_period", grace_period)
        self._client = client
        self._grace_period = grace_period
        self._viewers: Counter[str] = Counter()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def track(self, prediction: Prediction) -> None:
        """Cancel a prediction unless a browser begins to stream it.

        Args:
            prediction: A prediction that was just created.

        Raises:
            ClientStateError: The viewers are closed.
        """
        self._check_open()
        if not prediction.done and not self._viewers[prediction.id]:
            self._last_left(prediction.id)

    def stream(
        self, prediction: Prediction | str, *, resume: ResumePoint | None = None
    ) -> ViewerStream:
        """Return a stream of a prediction for one browser, for a response or an encoder.

        Args:
            prediction: The prediction, or its id.
            resume: Where the browser left off, from `resume_point`.

        Raises:
            ClientStateError: The viewers are closed.
        """
        self._check_open()
        at = resume or ResumePoint("")
        stream = self._client.predictions.stream(
            prediction, last_event_id=at.last_event_id, received=at.chars_sent
        )
        name = prediction if isinstance(prediction, str) else prediction.id
        return ViewerStream(stream, partial(self._joined, name), partial(self._left, name))

    async def aclose(self) -> None:
        """Cancel predictions without viewers at once, and wait for that."""
        self._closed = True
        timers, self._timers = self._timers, {}
        for prediction_id, timer in timers.items():
            timer.cancel()
            self._cancel(prediction_id)
        await asyncio.gather(*self._cancelling)

    def _check_open(self) -> None:
        if self._closed:
            raise ClientStateError(
                "The viewers are closed, so that a prediction without any would not be cancelled; "
                "close them when the server has ended its requests."
            )

    def _joined(self, prediction_id: str) -> None:
        self._viewers[prediction_id] += 1
        if self._viewers[prediction_id] == 1:
            self._first_joined(prediction_id)

    def _left(self, prediction_id: str, finished: bool) -> None:  # noqa: FBT001 - a callback
        self._viewers[prediction_id] -= 1
        if self._viewers[prediction_id] <= 0:
            del self._viewers[prediction_id]
            self._last_left(prediction_id, finished=finished)

    def _first_joined(self, prediction_id: str) -> None:
        """Keep a prediction running, which has a viewer in this process now."""
        if timer := self._timers.pop(prediction_id, None):
            timer.cancel()

    def _last_left(self, prediction_id: str, *, finished: bool = False) -> None:
        """Begin the grace period of a prediction without viewers, unless it has *finished*."""
        if not finished and prediction_id not in self._timers:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._grace_period, self._give_up, prediction_id)
            self._timers[prediction_id] = timer

    def _give_up(self, prediction_id: str) -> None:
        del self._timers[prediction_id]
        self._cancel(prediction_id)

    def _cancel(self, prediction_id: str) -> None:
        cancelling = asyncio.create_task(self._cancel_run(prediction_id))
        self._cancelling.add(cancelling)
        cancelling.add_done_callback(self._cancelling.discard)

    async def _cancel_run(self, prediction_id: str) -> None:
        await cancel_quietly(self._client.predictions.cancel, prediction_id)


class ViewerStream:
    """A stream of a prediction for one browser, which `Viewers` counts while it is entered."""

    def __init__(
        self, stream: Stream, joined: Callable[[], None], left: Callable[[bool], None]
    ) -> None:
        self._stream = stream
        self._joined = joined
        self._left = left
        self._entered = False
        self._finished = False

    @property
    def prediction(self) -> Prediction:
        """The latest snapshot of the prediction."""
        return self._stream.prediction

    async def __aenter__(self) -> Self:
        # Counted before the API answers, which may take longer than the rest of the grace period.
        self._joined()
        try:
            await self._stream.__aenter__()
        except BaseException:
            self._left(False)
            raise
        self._entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the stream; the browser is no viewer any more."""
        entered, self._entered = self._entered, False
        if entered:
            self._left(self._finished)
        await self._stream.aclose()

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        async for event in self._stream:
            if isinstance(event, DoneEvent):
                self._finished = True
            yield event
