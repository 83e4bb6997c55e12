from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

import pytest
from multidict import CIMultiDict

from replicate_async import APIConnectionError, APITimeoutError, StreamLimitError
from replicate_async.core.sse import Outputs, encode
from replicate_async.errors import StreamResponseError, TLSError
from replicate_async.runs.streaming.connection import EventSource, can_be_sent, pause_before

pytestmark = pytest.mark.anyio

Step = bytes | Exception


class Connection:
    """An answer with the given chunks and errors."""

    def __init__(
        self,
        *steps: Step,
        status: int = 200,
        content_type: str = "text/event-stream",
        headers: Mapping[str, str] | None = None,
        lasts: float = 0.0,
    ) -> None:
        self.status = status
        self.headers: Mapping[str, str] = CIMultiDict(
            {"Content-Type": content_type, **(headers or {})}
        )
        self.steps = list(steps)
        self.lasts = lasts
        self.limit = 60.0
        self.closed = False
        self.clock: Clock | None = None

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if not self.steps:
            if self.clock is not None:
                self.clock.now += self.lasts
            return b""
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def read_all(self, limit: int) -> bytes:
        return (await self.read())[:limit]

    def close(self) -> None:
        self.closed = True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, delay: float, /) -> Awaitable[object]:
        self.slept.append(delay)
        return asyncio.sleep(0)


class Line:
    """Connections in turn, and the Last-Event-ID of each."""

    def __init__(self, *connections: Connection | Exception, limit: int = 1000) -> None:
        self.connections = list(connections)
        self.asked: list[str] = []
        self.clock = Clock()
        self.source = EventSource(
            self.open,
            "https://x/stream",
            last_event_id="",
            limit=limit,
            clock=self.clock,
            sleep=self.clock.sleep,
            jitter=lambda: 0.5,
        )

    async def open(self, url: str, last_event_id: str) -> Connection:
        assert url == "https://x/stream"
        self.asked.append(last_event_id)
        found = self.connections.pop(0)
        if isinstance(found, Exception):
            raise found
        found.clock = self.clock
        return found

    async def data(self) -> list[str]:
        events = await self.source.read()
        return [*events.parts] if isinstance(events, Outputs) else [each.data for each in events]


def event(id: str | None, data: str = "x") -> bytes:
    return encode("output", data, id=id)


@pytest.mark.parametrize("size", [16_384, 16_385, 40_000, 300_000])
async def test_a_large_chunk_is_parsed_in_pieces_before_the_next_connection(
    size: int,
) -> None:
    said = b"".join(event(str(at), f"word {at}") for at in range(size // 40))
    chunk = said + b": " + b"." * max(0, size - len(said) - 4) + b"\n\n"
    line = Line(
        Connection(chunk, APIConnectionError("reset")),
        Connection(event("last", "end")),
        limit=1_000_000,
    )
    parts: list[str] = []
    largest = 0
    while "end" not in parts:
        found = await line.data()
        largest = max(largest, len("".join(found)))
        parts += found

    assert parts == [*(f"word {at}" for at in range(size // 40)), "end"]
    assert line.asked == ["", str(size // 40 - 1)]
    assert largest < 16_384


@pytest.mark.parametrize(
    ("empty", "retry", "pause"),
    [
        (0, None, 0.125),
        (1, None, 0.25),
        (5, None, 4.0),
        (6, None, 4.0),
        (9999, None, 4.0),
        (0, 0, 0.1),
        (0, 500, 0.5),
        (0, 10**15, 30.0),
        (1, 0, 0.35),
        (9999, 10**15, 34.0),
    ],
)
def test_the_pause_grows_and_has_bounds(empty: int, retry: int | None, pause: float) -> None:
    assert pause_before(empty, retry, 0.5) == pytest.approx(pause)


def test_the_pause_after_an_empty_connection_is_never_zero() -> None:
    assert pause_before(3, None, 0.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("event_id", "fits"),
    [("", True), ("1690212292:0", True), ("…", True), ("\x01", False), ("a\rb", False)],
)
def test_ids_with_controls_cannot_be_sent(event_id: str, fits: bool) -> None:
    assert can_be_sent(event_id) is fits


async def test_a_partial_event_is_dropped_and_read_again() -> None:
    line = Line(Connection(event("1", "a") + event("2", "b")[:-1]), Connection(event("2", "b")))
    assert await line.data() == ["a"]
    assert await line.data() == []
    assert await line.data() == ["b"]
    assert line.asked == ["", "1"]


async def test_the_same_id_is_sent_again_after_a_second_cut() -> None:
    line = Line(Connection(event("1")), Connection(b": hi\n\n"), Connection(event("2", "b")))
    for expected in (["x"], [], [], ["b"]):
        assert await line.data() == expected
    assert line.asked == ["", "1", "1"]


async def test_repeated_events_are_dropped_up_to_the_first_new_one() -> None:
    again = event("1") + encode("note", "between") + event("2") + event("3", "c") + event("2", "d")
    line = Line(Connection(event("1") + event("2")), Connection(again))
    assert await line.data() == ["x", "x"]
    assert await line.data() == []
    assert line.source.resume({hash("1"), hash("2")})
    assert await line.data() == ["between", "c", "d"]


async def test_two_repeated_events_of_one_id_end_the_resuming() -> None:
    """A server may give all events one id, and the first connection may bring one event."""
    line = Line(Connection(event("1")), Connection(event("1") + event("1", "b")))
    assert await line.data() == ["x"]
    assert await line.data() == []
    assert line.source.resume({hash("1")})
    assert await line.data() == []
    assert not line.source.connected
    assert not line.source.resume({hash("1")})


async def test_a_connection_with_repeated_events_only_is_a_failure() -> None:
    line = Line(Connection(event("1")), Connection(event("1")))
    await line.data()
    await line.data()
    line.source.resume({hash("1")})
    assert await line.data() == []
    assert line.source.failures == 1


@pytest.mark.parametrize(
    "ended",
    [
        Connection(b":408: 408 Request Timeout\n\n"),
        Connection(b": hi\n\n", lasts=5.1),
        Connection(APITimeoutError("silence")),
    ],
    ids=["408", "long", "silent"],
)
async def test_an_idle_end_is_no_failure(ended: Connection) -> None:
    line = Line(ended)
    assert await line.data() == []
    assert line.source.failures == 0
    assert ended.closed


async def test_an_old_408_does_not_excuse_a_new_failure() -> None:
    line = Line(Connection(b":408: 408 Request Timeout\n\n"), Connection(), Connection())
    for _ in range(3):
        assert await line.data() == []
    assert line.source.failures == 2


async def test_connections_that_end_at_once_get_slower_even_when_idle() -> None:
    line = Line(*(Connection(b":408:\n\n") for _ in range(5)))
    for _ in range(5):
        assert await line.data() == []
    assert line.clock.slept == [0.25, 0.5, 1.0, 2.0]


async def test_new_output_resets_the_failures() -> None:
    refused = APIConnectionError("refused")
    line = Line(refused, refused, refused, Connection(event("1")), refused)
    for expected in ([], [], [], ["x"], [], []):
        assert await line.data() == expected
    assert line.source.failures == 1
    assert line.clock.slept == [0.25, 0.5, 1.0, 0.125]


async def test_retry_after_is_obeyed() -> None:
    busy = [Connection(b"{}", status=503, headers={"Retry-After": "7"}) for _ in range(2)]
    line = Line(*busy, Connection(event("1")))
    assert await line.data() == []
    assert line.source.failures == 1
    assert not line.source.progressed
    assert await line.data() == []
    assert await line.data() == ["x"]
    assert line.clock.slept == [7.0, 7.0]
    assert all(connection.closed for connection in busy)


async def test_a_503_without_retry_after_before_any_stream_is_an_error() -> None:
    line = Line(Connection(b'{"detail": "down"}', status=503))
    with pytest.raises(StreamResponseError, match="down"):
        await line.source.read()


async def test_a_502_after_a_stream_is_followed_by_a_reconnect() -> None:
    line = Line(Connection(event("1")), Connection(b"", status=502), Connection(event("2", "b")))
    for expected in (["x"], [], [], ["b"]):
        assert await line.data() == expected


async def test_a_bad_certificate_is_not_tried_again() -> None:
    line = Line(TLSError("wrong name"))
    with pytest.raises(TLSError):
        await line.source.read()


async def test_an_event_above_the_limit_is_an_error() -> None:
    large = Connection(event("1") + b"data: " + b"x" * 2000)
    line = Line(large)
    assert await line.data() == ["x"]
    with pytest.raises(StreamLimitError, match="1,000 bytes"):
        await line.source.read()
    assert large.closed


async def test_a_cancelled_pause_starts_again() -> None:
    line = Line(Connection(event("1")), Connection(event("2", "b")))
    await line.data()
    await line.data()
    task = asyncio.ensure_future(line.data())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await line.data() == ["b"]
    assert len(line.clock.slept) == 2
