"""Who watches which prediction, so that one that nobody watches any more is cancelled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

from replicate_async.client import Replicate
from replicate_async.runs.run import cancel_quietly
from replicate_async.runs.streaming.events import DoneEvent, StreamEvent
from replicate_async.runs.streaming.stream import Stream
from replicate_async.schemas import Prediction
from replicate_async.web.resume import ResumePoint

GRACE_PERIOD: Final = 3.0
"""Seconds that a page may take to come back."""


class Viewers:
    """The browsers that follow predictions of *client*, by prediction.

    A page that is loaded again, or loses its connection for a moment, leaves and comes back; a
    closed tab does not. So a prediction is cancelled once nobody has followed it for *grace_period*
    seconds. Several may follow one. It knows the browsers of its own process: behind several
    processes, send a prediction's followers to the same one. Use it with ``async with``, or call
    `aclose` at the end.
    """

    def __init__(self, client: Replicate, *, grace_period: float = GRACE_PERIOD) -> None:
        self._client = client
        self._grace_period = grace_period
        self._followers: Counter[str] = Counter()
        self._waits: dict[str, asyncio.TimerHandle] = {}
        self._cancelling: set[asyncio.Task[Prediction | None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def track(self, prediction: Prediction) -> None:
        """Cancel *prediction*, which was just created, unless somebody comes to follow it."""
        if not prediction.done and not self._followers[prediction.id]:
            self._wait_for(prediction.id)

    def stream(
        self, prediction: Prediction | str, *, resume: ResumePoint | None = None
    ) -> ViewerStream:
        """Follow a prediction, by its id or a snapshot of it, from where *resume* says.

        It is what the encoders and responses take, in the place of a stream.
        """
        at = resume or ResumePoint("")
        stream = self._client.predictions.stream(
            prediction, last_event_id=at.last_event_id, received=at.chars_sent
        )
        prediction_id = prediction if isinstance(prediction, str) else prediction.id
        return ViewerStream(self, stream, prediction_id)

    async def aclose(self) -> None:
        """Cancel at once what is not followed, and wait for that."""
        waits, self._waits = self._waits, {}
        for prediction_id, wait in waits.items():
            wait.cancel()
            self._cancel(prediction_id)
        await asyncio.gather(*self._cancelling)

    def joined(self, prediction_id: str) -> None:
        """Note one more follower."""
        self._followers[prediction_id] += 1
        if wait := self._waits.pop(prediction_id, None):
            wait.cancel()

    def left(self, prediction_id: str, *, over: bool) -> None:
        """Note one follower less, who has seen the end if *over*."""
        self._followers[prediction_id] -= 1
        if self._followers[prediction_id] <= 0:
            del self._followers[prediction_id]
            if not over:
                self._wait_for(prediction_id)

    def _wait_for(self, prediction_id: str) -> None:
        if prediction_id not in self._waits:
            loop = asyncio.get_running_loop()
            self._waits[prediction_id] = loop.call_later(
                self._grace_period, self._give_up, prediction_id
            )

    def _give_up(self, prediction_id: str) -> None:
        del self._waits[prediction_id]
        self._cancel(prediction_id)

    def _cancel(self, prediction_id: str) -> None:
        cancelling = asyncio.create_task(
            cancel_quietly(self._client.predictions.cancel, prediction_id)
        )
        self._cancelling.add(cancelling)
        cancelling.add_done_callback(self._cancelling.discard)


class ViewerStream:
    """A stream of a prediction whose followers an `Viewers` counts."""

    def __init__(self, viewers: Viewers, stream: Stream, prediction_id: str) -> None:
        self._audience = viewers
        self._stream = stream
        self._prediction_id = prediction_id
        self._joined = ""
        self._over = False

    @property
    def prediction(self) -> Prediction:
        """The prediction as it was last seen."""
        return self._stream.prediction

    async def __aenter__(self) -> Self:
        # Joined before the API is asked: its answer may take longer than what is left of the grace.
        self._audience.joined(self._prediction_id)
        try:
            await self._stream.__aenter__()
        except BaseException:
            self._audience.left(self._prediction_id, over=False)
            raise
        self._joined = self._prediction_id
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop following."""
        joined, self._joined = self._joined, ""
        if joined:
            self._audience.left(joined, over=self._over)
        await self._stream.aclose()

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        async for event in self._stream:
            if isinstance(event, DoneEvent):
                self._over = True
            yield event
