"""A scripted stream, and readers of the bytes that are made of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Self

from replicate_async import ClientStateError, Prediction, StreamEvent
from replicate_async.core.sse import Event, Parser
from replicate_async.schemas import PredictionURLs

PREDICTION_ID = "abc123"


def prediction(stream: str = "http://127.0.0.1/v1/streams/x") -> Prediction:
    urls = PredictionURLs(get="http://127.0.0.1/v1/predictions/abc123", stream=stream)
    return Prediction(id=PREDICTION_ID, status="processing", urls=urls)


class Script:
    """Plays events and errors; a number is a pause in seconds, a function is called."""

    def __init__(
        self,
        *steps: StreamEvent | Exception | float | Callable[[], None],
        entered: bool = True,
        refusal: Exception | None = None,
        of: Prediction | None = None,
    ) -> None:
        self.steps = list(steps)
        self.played = 0
        self.closed = False
        self.entered = entered
        self.refusal = refusal
        self._prediction = of or prediction()

    @property
    def prediction(self) -> Prediction:
        if not self.entered:
            raise ClientStateError("not entered")
        return self._prediction

    async def __aenter__(self) -> Self:
        if self.refusal is not None:
            raise self.refusal
        self.entered = True
        return self

    async def aclose(self) -> None:
        self.closed = True

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        for step in self.steps:
            self.played += 1
            if isinstance(step, Exception):
                raise step
            if isinstance(step, int | float):
                await asyncio.sleep(step)
            elif callable(step):
                step()
            else:
                yield step


async def pieces(stream: AsyncIterator[bytes]) -> list[bytes]:
    return [piece async for piece in stream]


def events(data: bytes) -> list[Event]:
    return Parser(1 << 20).feed(data)


async def sent(stream: AsyncIterator[bytes]) -> list[Event]:
    return events(b"".join(await pieces(stream)))
