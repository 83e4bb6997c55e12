"""Streams that never end by themselves, and never say anything new."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain, repeat
from typing import Final, cast

import pytest

from replicate_async import Prediction, StreamIncompleteError, Timeout
from replicate_async.core.sse import encode
from replicate_async.runs.streaming.connection import ByteStream
from replicate_async.runs.streaming.reader import StreamDeps
from replicate_async.runs.streaming.stream import Stream
from replicate_async.runs.waiting.wait_options import PREDICTION_TIMEOUT
from replicate_async.runs.waiting.watch import PredictionWaits
from replicate_async.schemas import PredictionURLs
from tests.runs.service import Run, Service, cut_at, output, text_of
from tests.support.replies import stream_answer
from tests.support.virtual_time import run_virtually
from tests.support.wire import Answer, Ending

WORDS: Final = ["Once", " upon", " a\ntime"]
TEXT: Final = "".join(WORDS)
QUICK: Final = Timeout(read=5.0, connect=5.0, stream=0.1)
NOTHING: Final = {
    "comments": b": hi\n\n",
    "blank lines": b"\n",
    "single bytes": b"x",
    "a retry time": b"retry: 5000\n\n",
    "new ids": b"id: 7\n\n",
    "pings": encode("ping", "{}", id="7"),
    "empty outputs": encode("output", "", id="7"),
}


def ends_after(polls: int) -> Callable[[Run], None]:
    def end(run: Run) -> None:
        run.status = "succeeded" if run.polls > polls else run.status

    return end


@pytest.mark.anyio
@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize("said", [0, 2])
async def test_a_stream_that_goes_on_after_done_is_closed(nothing: str, said: int) -> None:
    run = Run(output(WORDS)[:said], output=WORDS, polled=ends_after(2))
    filler = NOTHING[nothing]
    answer = stream_answer(run.rest("") + filler * 40_000)
    run.answers = lambda _connection, _last: replace(answer, step=len(filler), pause=0.002)
    service = Service(run)
    async with service.server, service.client(QUICK) as client:
        assert await text_of(client) == TEXT
    assert run.polls > 2


@pytest.mark.anyio
@pytest.mark.parametrize("event", ["ping", "output", "logs"])
async def test_reconnects_slow_down_when_the_server_closes_after_each_event(event: str) -> None:
    run = Run(output=WORDS, polled=ends_after(4))
    said = "" if event == "output" else "still here"
    run.answers = lambda connection, _last: cut_at(
        encode(event, said, id=f"7:{connection}"), 10_000, Ending.CLOSE
    )
    service = Service(run)
    async with service.server, service.client() as client:
        assert await text_of(client) == TEXT
    # The prediction is looked at after each: once by the test, and once for each connection.
    assert len(run.resumed_after) == run.polls - 1 == 4


@pytest.mark.anyio
async def test_the_body_of_an_error_is_read_for_a_bounded_time() -> None:
    run = Run(output=WORDS, status="succeeded")
    refusal = Answer(status=404, body=b"x" * 60_000, step=1, pause=0.01)
    run.answers = lambda _connection, _last: refusal
    service = Service(run)
    async with service.server, service.client(QUICK) as client:
        assert await text_of(client) == TEXT


class Slow:
    """A connection that gives one of *pieces* every ten seconds, and then ends."""

    status = 200
    headers: Mapping[str, str] = {"Content-Type": "text/event-stream"}
    limit = 60.0

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = iter(pieces)

    async def read(self) -> bytes:
        await asyncio.sleep(10)
        return next(self.pieces, b"")

    async def read_all(self, limit: int) -> bytes:
        raise AssertionError(limit)

    def close(self) -> None:
        self.pieces = iter(())


class Endless:
    """A run that never ends, and the connections of its stream."""

    def __init__(self, connect: Callable[[int], ByteStream]) -> None:
        self.connect = connect
        self.opened = 0
        self.fetches: list[float] = []
        urls = PredictionURLs(stream="https://stream.example.com/v1/streams/p")
        self.shown = Prediction(id="p", status="processing", urls=urls)

    async def open(self, _url: str, _last: str) -> ByteStream:
        self.opened += 1
        return self.connect(self.opened)

    async def get(self, _: str) -> Prediction:
        self.fetches.append(asyncio.get_running_loop().time())
        return self.shown

    def read_to_error(self) -> float:
        """Return the seconds until the stream raises `StreamIncompleteError`."""
        return run_virtually(self._read_to_error())

    async def _read_to_error(self) -> float:
        async def start() -> Prediction:
            return self.shown

        no_waits = cast("PredictionWaits[Prediction]", None)
        runs = StreamDeps(
            cast("Callable[[str, str], Awaitable[ByteStream]]", self.open),
            self.get,
            self.get,
            no_waits,
        )
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self.fetches = []
        async with Stream(runs, start, on_exit="continue") as stream:
            with pytest.raises(StreamIncompleteError, match="continue later"):
                async for _ in stream:
                    pass
        return loop.time() - begun


@pytest.mark.parametrize("piece", [b": hi\n\n", encode("ping", "{}", id="7")])
def test_a_connection_without_progress_ends_with_an_error(piece: bytes) -> None:
    run = Endless(lambda _: Slow(repeat(piece)))

    assert PREDICTION_TIMEOUT <= run.read_to_error() <= PREDICTION_TIMEOUT + 120
    assert run.opened == 1
    # Every minute, but for the ten seconds until it is seen that nothing comes.
    assert len(run.fetches) == pytest.approx(PREDICTION_TIMEOUT / 60, abs=2)


def test_connections_without_progress_end_with_an_error() -> None:
    class Short(Slow):
        async def read(self) -> bytes:
            return next(self.pieces, b"")

    run = Endless(lambda at: Short([encode("ping", "{}", id=f"7:{at}")]))

    assert PREDICTION_TIMEOUT <= run.read_to_error() <= PREDICTION_TIMEOUT + 120
    # Every four seconds, in the mean; it was eight times a second.
    assert run.opened < 800
    assert len(run.fetches) == run.opened


def test_progress_restarts_the_time() -> None:
    words = [encode("output", "word", id=f"7:{at}") for at in range(300)]
    run = Endless(lambda _: Slow(chain(words, repeat(b": hi\n\n"))))

    assert PREDICTION_TIMEOUT + 3000 <= run.read_to_error() <= PREDICTION_TIMEOUT + 3120
    assert run.opened == 1
    assert run.fetches[0] >= 3060
