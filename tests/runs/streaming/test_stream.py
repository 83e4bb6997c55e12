from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Final

import pytest

from replicate_async import (
    ClientStateError,
    DoneEvent,
    ErrorEvent,
    InvalidArgumentError,
    LogsEvent,
    OutputEvent,
    PredictionCanceled,
    PredictionFailed,
    Replicate,
    StreamIncompleteError,
    StreamLimitError,
    StreamResponseError,
    StreamRestartedError,
    Timeout,
)
from replicate_async.core.sse import encode
from replicate_async.runs.streaming.stream import Stream
from tests.runs.service import QUICK, Run, Service, cut_at, output, text_of
from tests.support.replies import stream_answer
from tests.support.wire import Answer, Ending

pytestmark = pytest.mark.anyio

WORDS: Final = ["Once", " upon", " a\ntime", "", " ✨", "\n\n", " there", " was"] * 4
TEXT: Final = "".join(WORDS)


async def collect(opened: Stream, events: list[object]) -> None:
    """Add all events to *events*, those before an error too."""
    async with opened as stream:
        async for event in stream:
            events.append(event)  # noqa: PERF401 - a comprehension would lose those before an error


def cutting(run: Run, at: int, ending: Ending, *, back: int = 0) -> Callable[[int, str], Answer]:
    """Cut the first connection at a byte, and resume *back* events too early."""

    def answer(connection: int, last: str) -> Answer:
        if connection == 0:
            return cut_at(run.rest(""), at, ending)
        names = [event.split(b"id: ")[1].split(b"\n")[0].decode() for event in run.events]
        place = names.index(last) - back if last else -1
        return stream_answer(run.rest(names[place] if place >= 0 else ""))

    return answer


@pytest.mark.slow
async def test_a_cut_at_every_byte_gives_the_exact_text() -> None:
    events = output(WORDS)
    size = len(b"".join(events)) + len(b": hi\n\n")
    assert size > 1500
    runs: dict[str, Run] = {}
    for at in range(size):
        run = runs[f"p{at}"] = Run(events, output=WORDS)
        run.answers = cutting(run, at, [Ending.CLOSE, Ending.RESET][at % 2], back=at // 2 % 3)
    service = Service(**runs)
    gate = asyncio.Semaphore(50)

    async def check(client: Replicate, id: str) -> None:
        async with gate:
            assert await text_of(client, id) == TEXT, id

    async with service.server, service.client() as client:
        await asyncio.gather(*(check(client, id) for id in runs))
    assert all(1 <= len(run.resumed_after) <= 3 for run in runs.values())


@pytest.mark.slow
async def test_two_hundred_streams_under_resets_lose_nothing() -> None:
    rng = Random(7)
    words = [f" {at}" for at in range(20)]

    def unlucky(run: Run) -> Callable[[int, str], Answer]:
        def answer(_connection: int, last: str) -> Answer:
            at = next((at for at, e in enumerate(run.events) if f"id: {last}\n".encode() in e), -1)
            if at >= 0 and rng.random() < 0.3:
                at = max(-1, at - rng.randint(1, 2))
            body = b"".join(run.events[at + 1 :])
            if any(rng.random() < 0.01 for _ in run.events[at + 1 :]):
                return cut_at(body, rng.randrange(len(body)), Ending.RESET)
            return replace(stream_answer(body), ending=Ending.HANG)

        return answer

    runs = {f"p{at}": Run(output(words), output=words) for at in range(200)}
    for run in runs.values():
        run.answers = unlucky(run)
    service = Service(**runs)
    async with service.server, service.client() as client:
        texts = await asyncio.gather(*(text_of(client, id) for id in runs))
    assert set(texts) == {"".join(words)}
    assert sum(len(run.resumed_after) for run in runs.values()) > 210


@pytest.mark.parametrize("at", [100, 500])
async def test_events_that_the_server_repeats_are_read_once(at: int) -> None:
    run = Run(output(WORDS), output=WORDS)
    run.answers = lambda connection, _last: (
        stream_answer(run.rest("")) if connection else cut_at(run.rest(""), at, Ending.CLOSE)
    )
    service = Service(run)
    async with service.server, service.client() as client:
        assert await text_of(client) == TEXT
    assert len(run.resumed_after) == 2
    assert run.polls == 1  # that of the test


@pytest.mark.parametrize("honours", [True, False])
async def test_a_stream_whose_events_share_one_id_is_completed_from_the_run(
    *, honours: bool
) -> None:
    """Cut after the first event: the next one may be the first again, or the second."""
    events = [encode("output", word, id="x") for word in WORDS]
    run = Run(events, output=WORDS)

    def answer(connection: int, _last: str) -> Answer:
        if connection == 0:
            return cut_at(b"".join(events), len(events[0]), Ending.CLOSE)
        run.status = "succeeded"
        return stream_answer(b"".join(events[honours:]))

    run.answers = answer
    service = Service(run)
    async with service.server, service.client() as client:
        assert await text_of(client) == TEXT
    assert len(run.resumed_after) == 2


async def test_a_stream_without_ids_is_completed_from_the_run() -> None:
    run = Run(output(WORDS, ids=False), output=WORDS)
    run.answers = lambda _connection, _last: cut_at(run.rest(""), 200, Ending.RESET)

    def finish(run: Run) -> None:
        if run.polls == 4:
            run.status = "succeeded"

    run.polled = finish
    service = Service(run)
    async with service.server, service.client() as client:
        assert await text_of(client) == TEXT
    assert len(run.resumed_after) == 1


async def test_equal_ids_are_not_used_to_resume() -> None:
    events = [encode("output", word, id="1") for word in WORDS]
    run = Run(events, output=WORDS)
    run.answers = lambda _connection, _last: cut_at(run.rest(""), 200, Ending.CLOSE)
    service = Service(run)
    run.polled = lambda run: setattr(run, "status", "succeeded" if run.polls > 1 else run.status)
    async with service.server, service.client() as client:
        assert await text_of(client) == TEXT
    assert len(run.resumed_after) == 1


async def test_a_stream_without_ids_is_not_completed_with_a_different_text() -> None:
    run = Run(output(WORDS, ids=False), output=["Something else"])
    run.answers = lambda _connection, _last: cut_at(run.rest(""), 200, Ending.CLOSE)
    service = Service(run)
    read: list[object] = []
    async with service.server, service.client() as client:
        with pytest.raises(StreamRestartedError) as caught:
            await collect(client.predictions.stream("p", poll=QUICK), read)
    assert caught.value.text == "".join(map(str, read)) != ""


async def test_another_stream_continues_after_any_event() -> None:
    run = Run(output(WORDS), output=WORDS)
    service = Service(run)
    async with service.server, service.client() as client:
        for stop in range(1, len(WORDS), 3):
            text = ""
            async with client.predictions.stream("p") as stream:
                assert stream.last_event_id == ""
                words = stream.text()
                for _ in range(stop):
                    text += await anext(words)
                last = stream.last_event_id
            assert last == f"1690212292:{stop - 1}"
            assert text + await text_of(client, last_event_id=last) == TEXT


async def test_a_second_loop_continues_where_the_first_stopped() -> None:
    service = Service(Run(output(WORDS)))
    async with service.server, service.client() as client, client.predictions.stream("p") as stream:
        async for event in stream:
            assert event == OutputEvent("Once", "1690212292:0")
            break
        async for word in stream.text():
            assert word == " upon"
            break
        raw = await anext(stream.raw())
        assert (raw.event, raw.data, raw.id) == ("output", " a\ntime", "1690212292:2")
        rest = [event async for event in stream]
    assert "".join(map(str, rest)) == "".join(WORDS[3:])
    assert rest[-1] == DoneEvent(None, "1690212293:0")


async def test_iterators_share_one_position() -> None:
    service = Service(Run(output(WORDS), output=WORDS, status="succeeded"))
    async with service.server, service.client() as client, client.predictions.stream("p") as stream:
        typed, texts, raw = aiter(stream), stream.text(), stream.raw()
        for at in range(0, len(WORDS) - 2, 3):
            assert await anext(typed) == OutputEvent(WORDS[at], f"1690212292:{at}")
            assert await anext(texts) == WORDS[at + 1]
            assert (await anext(raw)).data == WORDS[at + 2]
            assert stream.last_event_id == f"1690212292:{at + 2}"
        await stream.final()
        # What was ready and not read is gone for all of them.
        assert [event async for event in typed] == []
        assert [text async for text in texts] == []
        assert stream.last_event_id == f"1690212292:{len(WORDS) - 3}"


@pytest.mark.virtual_clock
async def test_a_silent_connection_is_reopened() -> None:
    run = Run(output(WORDS))
    run.answers = lambda connection, last: (
        stream_answer(run.rest(last))
        if connection >= 2
        else cut_at(run.rest(last), 400, Ending.HANG)
    )
    service = Service(run)
    async with service.server, service.client(Timeout(stream=0.02)) as client:
        assert await text_of(client) == TEXT
    assert len(run.resumed_after) == 3


@pytest.mark.virtual_clock
async def test_a_connection_without_an_answer_is_reopened() -> None:
    run = Run(output(WORDS))
    run.answers = lambda connection, last: (
        stream_answer(run.rest(last)) if connection else Answer(raw=b"", ending=Ending.HANG)
    )
    service = Service(run)
    async with service.server, service.client(Timeout(stream=0.02)) as client:
        assert await text_of(client) == TEXT


@pytest.mark.virtual_clock
async def test_a_slow_reader_is_not_a_silent_server() -> None:
    run = Run(output(WORDS))
    service = Service(run)
    async with (
        service.server,
        service.client(Timeout(stream=0.02)) as client,
        client.predictions.stream("p") as stream,
    ):
        words = stream.text()
        text = await anext(words)
        await asyncio.sleep(0.06)
        text += "".join([word async for word in words])
    assert text == TEXT
    assert len(run.resumed_after) == 1


@pytest.mark.virtual_clock
async def test_a_stream_without_progress_ends_with_an_error() -> None:
    run = Run(output(WORDS))
    run.answers = lambda _connection, _last: cut_at(
        b"retry: 1\n\n" + b"".join(run.events[:2]), 10_000, Ending.CLOSE
    )
    service = Service(run)
    async with service.server, service.client() as client:
        with pytest.raises(StreamIncompleteError) as caught:
            await text_of(client)
    assert caught.value.text == "Once upon"
    assert len(run.resumed_after) == 7


@pytest.mark.parametrize("growing", ["str", "list", "nothing until the end"])
async def test_a_run_without_a_stream_is_polled(growing: str) -> None:
    words = WORDS[:6]

    def grow(run: Run) -> None:
        had = words[: run.polls]
        run.logs = "".join(f"{at}\n" for at in range(run.polls))
        if growing == "list":
            run.output = had
        elif growing == "str":
            run.output = "".join(had)
        if run.polls >= 8:
            run.status, run.output = "succeeded", words

    run = Run(streamed=False, polled=grow)
    service = Service(run)
    async with (
        service.server,
        service.client() as client,
        client.predictions.stream("p", poll=QUICK) as stream,
    ):
        events = [event async for event in stream]
        assert stream.last_event_id == ""
    assert "".join(map(str, events)) == "".join(words)
    logs = [event.data for event in events if isinstance(event, LogsEvent)]
    assert "".join(logs) == "".join(f"{at}\n" for at in range(8))
    assert len(logs) == 8
    if growing == "list":
        assert [event.data for event in events if isinstance(event, OutputEvent)] == words
    assert events[-1] == DoneEvent()


async def test_a_run_that_ended_long_ago_needs_no_stream() -> None:
    run = Run(output=["Hello", " you"], status="succeeded")
    run.answers = lambda _connection, _last: Answer(status=410, body=b"{}")
    service = Service(run)
    async with service.server, service.client() as client:
        assert await text_of(client) == "Hello you"


async def test_an_expired_stream_is_completed_from_the_run() -> None:
    run = Run(output=["Hello", " you", "!"], status="succeeded")
    run.answers = lambda _connection, _last: Answer(status=410, body=b"{}")
    service = Service(run)
    async with (
        service.server,
        service.client() as client,
        client.predictions.stream("p", last_event_id="7:0", received=6) as stream,
    ):
        assert [piece async for piece in stream.text()] == ["you", "!"]


@pytest.mark.parametrize("said", ['{"detail": "no luck (E1001)"}', "no luck (E1001)"])
async def test_the_error_of_the_model_is_raised(said: str) -> None:
    reason = encode("done", '{"reason": "error"}', id="3")
    run = Run([*output(["a"])[:1], encode("error", said, id="2"), reason])
    run.polled = lambda run: setattr(run, "status", "failed" if run.polls > 1 else run.status)
    service = Service(run)
    events: list[object] = []
    async with service.server, service.client() as client:
        with pytest.raises(PredictionFailed, match="no luck") as caught:
            await collect(client.predictions.stream("p", poll=QUICK), events)
    assert events[1:] == [ErrorEvent("no luck (E1001)", "2"), DoneEvent("error", "3")]
    assert caught.value.prediction.error_code == "E1001"


async def test_a_canceled_run_raises_prediction_canceled() -> None:
    run = Run([encode("done", '{"reason": "canceled"}', id="1")], status="canceled")
    service = Service(run)
    async with service.server, service.client() as client:
        with pytest.raises(PredictionCanceled):
            await text_of(client)
        async with client.predictions.stream("p") as stream:
            assert (await stream.final()).status == "canceled"


async def test_final_waits_for_the_end() -> None:
    run = Run(output(WORDS), output=WORDS)
    run.polled = lambda run: setattr(run, "status", "succeeded" if run.polls > 3 else run.status)
    service = Service(run)
    async with (
        service.server,
        service.client() as client,
        client.stream("acme/echo", {}, poll=QUICK) as stream,
    ):
        assert await anext(stream.text()) == "Once"
        assert (await stream.final()).output == WORDS
        assert [event async for event in stream] == []
    assert run.canceled == 0


@pytest.mark.virtual_clock
async def test_a_slow_reader_slows_the_server_down() -> None:
    sent = 0

    def flood() -> Iterator[bytes]:
        nonlocal sent
        for at in range(100_000):
            piece = encode("output", "x" * 4096, id=f"{at}:0")
            sent += len(piece)
            yield piece

    head = stream_answer(b"").head()
    run = Run(answers=lambda _connection, _last: Answer(raw=head, source=flood))
    service = Service(run)
    async with service.server, service.client() as client, client.predictions.stream("p") as stream:
        words = stream.text()
        for _ in range(20):
            await anext(words)
            await asyncio.sleep(0.005)
        ahead = sent
        await asyncio.sleep(0.05)
        assert sent == ahead
    # What the kernel's two socket buffers hold, a few MiB, and little more.
    assert ahead < 16 * 1024 * 1024


async def test_an_event_above_the_limit_ends_the_stream() -> None:
    large = "b" * (16 * 1024 * 1024 + 1)
    service = Service(Run([encode("output", "a", id="1"), encode("output", large, id="2")]))
    async with service.server, service.client() as client:
        with pytest.raises(StreamLimitError, match="16,777,216 bytes") as caught:
            await collect(client.predictions.stream("p"), [])
        await service.closed()
    assert caught.value.text == "a"


async def test_a_stream_is_entered_once_and_read_inside() -> None:
    service = Service(Run(output(WORDS)))
    async with service.server, service.client() as client:
        stream = client.stream("acme/echo", {})
        for early in (stream.__aiter__, stream.text, stream.raw, lambda: stream.prediction):
            with pytest.raises(ClientStateError, match="async with"):
                early()
        assert repr(stream) == "<Stream not begun>"
        await stream.aclose()
        async with stream:
            assert repr(stream) == "<Stream p open>"
        with pytest.raises(ClientStateError, match="once"):
            await stream.__aenter__()
        with pytest.raises(ClientStateError, match="closed"):
            await anext(stream.text())
    assert len([each for each in service.server.acted if each.method == "POST"]) == 2


async def test_an_invalid_last_event_id_is_refused() -> None:
    service = Service(Run())
    async with service.server, service.client() as client:
        with pytest.raises(InvalidArgumentError, match="not the id of an event"):
            client.predictions.stream("p", last_event_id="1\r\nX: y")


async def test_a_run_whose_stream_is_refused_goes_on() -> None:
    run = Run(answers=lambda _number, _last: Answer(status=404))
    service = Service(run)
    async with service.server, service.client() as client:
        with pytest.raises(StreamResponseError) as caught:
            async with client.stream("acme/echo", {}) as stream:
                await anext(stream.text())
        assert run.canceled == 0

        with pytest.raises(StreamResponseError):
            async with client.stream("acme/echo", {}):
                raise StreamResponseError("of another stream", status=404)
        assert run.canceled == 1

    assert caught.value.prediction is not None
    assert caught.value.prediction.id == "p"
