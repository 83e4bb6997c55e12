from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from replicate_async import (
    APIConnectionError,
    DoneEvent,
    ErrorEvent,
    InvalidArgumentError,
    LogsEvent,
    OutputEvent,
    StreamEvent,
    StreamIncompleteError,
    UnknownEvent,
)
from replicate_async.web import ResumePoint, to_sse
from tests.support.sentinel import TOKEN
from tests.web.script import PREDICTION_ID, Script, events, pieces, sent

pytestmark = pytest.mark.anyio

HELLO = (OutputEvent("Hel", "7:0"), OutputEvent("lo", "7:1"), DoneEvent(id="7:2"))


async def test_events_have_ids_that_say_where_to_go_on() -> None:
    first, second, done = await sent(to_sse(Script(*HELLO)))

    assert (first.event, first.data, first.id) == ("output", "Hel", "abc123/3/7:0")
    assert (second.event, second.data, second.id) == ("output", "lo", "abc123/5/7:1")
    assert (done.event, done.data, done.id) == ("done", "{}", "abc123/end")


async def test_what_is_ready_goes_out_in_one_piece() -> None:
    many = [OutputEvent("x", f"1:{count}") for count in range(500)]

    _, body = await pieces(to_sse(Script(*many, DoneEvent())))

    assert len(events(body)) == 501


async def test_an_event_goes_out_before_the_next_is_there() -> None:
    more = asyncio.Event()

    class Slow(Script):
        async def __aiter__(self) -> AsyncIterator[StreamEvent]:
            yield OutputEvent("now", "1:0")
            await more.wait()
            yield DoneEvent()

    async with aclosing(to_sse(Slow())) as stream:
        await anext(stream)
        assert b"data: now\n" in await anext(stream)
        more.set()
        assert b"event: done\n" in await anext(stream)


@pytest.mark.parametrize(
    "text",
    [" lead", "a\nb", "\n", "a\n\n", "tab\t", "\u2028", "\U0001f9ff", ": x", "data: x", "\x00"],
)
async def test_text_arrives_as_it_is(text: str) -> None:
    output, _ = await sent(to_sse(Script(OutputEvent(text, "1:0"), DoneEvent())))

    assert output.data == text


async def test_line_ends_arrive_as_line_feeds() -> None:
    output, _ = await sent(to_sse(Script(OutputEvent("a\r\nb\rc", "1:0"), DoneEvent())))

    assert output.data == "a\nb\nc"


async def test_a_lone_surrogate_breaks_nothing() -> None:
    output, _ = await sent(to_sse(Script(OutputEvent("a\ud800b", "1:0"), DoneEvent())))

    assert output.data == "a?b"


@pytest.mark.virtual_clock
async def test_silence_is_filled_with_comments_and_costs_no_event() -> None:
    stream = Script(OutputEvent("a", "1:0"), 0.1, OutputEvent("b", "1:1"), DoneEvent())

    body = b"".join(await pieces(to_sse(stream, ping=0.02)))

    assert body.count(b": ping\n\n") >= 2
    assert [event.data for event in events(body)] == ["a", "b", "{}"]


async def test_logs_are_kept_back_unless_asked_for() -> None:
    steps = (LogsEvent("secret prompt", "1:0"), UnknownEvent("metric", "9"), DoneEvent())

    assert [event.event for event in await sent(to_sse(Script(*steps)))] == ["done"]
    logs, _ = await sent(to_sse(Script(*steps), logs=True))
    assert (logs.event, logs.data) == ("logs", "secret prompt")


@pytest.mark.parametrize("reason", ["canceled", "error"])
async def test_the_end_says_why(reason: str) -> None:
    (done,) = await sent(to_sse(Script(DoneEvent(reason))))

    assert done.data == f'{{"reason":"{reason}"}}'


async def test_a_failed_model_says_its_error() -> None:
    error, done = await sent(to_sse(Script(ErrorEvent('no "GPU"'), DoneEvent("error"))))

    assert (error.event, error.data) == ("error", r'{"detail":"no \"GPU\""}')
    assert done.id == f"{PREDICTION_ID}/end"


@pytest.mark.parametrize(
    "trouble",
    [
        APIConnectionError(f"refused {TOKEN[:4]}"),
        StreamIncompleteError("broke"),
        KeyError("private"),
    ],
)
async def test_trouble_is_an_error_event_without_internals(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    output, error, done = await sent(to_sse(Script(OutputEvent("a", "1:0"), trouble)))

    assert output.data == "a"
    assert error.event == "error"
    assert not any(word in error.data for word in ("refused", "broke", "private", "Traceback"))
    assert (done.data, done.id) == ('{"reason":"error"}', f"{PREDICTION_ID}/end")
    assert PREDICTION_ID in caplog.text


async def test_the_application_can_choose_the_words() -> None:
    error, _ = await sent(
        to_sse(Script(KeyError("x")), error_message=lambda error: type(error).__name__)
    )

    assert error.data == '{"detail":"KeyError"}'


async def test_a_resumed_stream_counts_on() -> None:
    point = ResumePoint(PREDICTION_ID, "7:0", chars_sent=3)

    output, _ = await sent(to_sse(Script(OutputEvent("lo", "7:1"), DoneEvent()), resume=point))

    assert output.id == "abc123/5/7:1"


@pytest.mark.parametrize("known", range(6))
async def test_without_ids_what_the_browser_has_is_left_out(known: int) -> None:
    steps: list[StreamEvent] = [OutputEvent("Hel"), OutputEvent("lo"), DoneEvent()]

    received = await sent(
        to_sse(Script(*steps), resume=ResumePoint(PREDICTION_ID, chars_sent=known))
    )

    assert "".join(event.data for event in received[:-1]) == "Hello"[known:]
    assert all(event.id for event in received)


async def test_an_id_that_fits_no_header_is_not_passed_on() -> None:
    output, _ = await sent(to_sse(Script(OutputEvent("a", "ü"), DoneEvent())))

    assert output.id == "abc123/1/"


async def test_nothing_is_read_after_the_end() -> None:
    stream = Script(DoneEvent(), RuntimeError("asked for more"))

    assert len(await sent(to_sse(stream))) == 1


@pytest.mark.virtual_clock
async def test_a_reader_who_stops_reading_stops_the_stream() -> None:
    stream = Script(*[OutputEvent("x" * 1000, "1:0")] * 10_000)

    async with aclosing(to_sse(stream)) as encoded:
        await anext(encoded)
        await anext(encoded)
        await asyncio.sleep(0.05)

    assert stream.played < 300


async def test_leaving_ends_the_reading() -> None:
    before = asyncio.all_tasks()
    encoded = to_sse(Script(60.0), ping=0.01)
    await anext(encoded)
    await anext(encoded)

    await encoded.aclose()
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("ping", ["15", 0, True, -1])
def test_a_ping_that_is_no_time_is_refused_before_the_response_begins(ping: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"ping=.* must be a number of seconds"):
        to_sse(Script(), ping=ping)
