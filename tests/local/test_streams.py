from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from replicate_async.local import ConcatenateIterator, LocalReplicate, Settings, log
from replicate_async.local.clock import Clock
from replicate_async.local.store.events import Stream
from tests.local.wire import Wire, header

pytestmark = pytest.mark.anyio

TIMEOUT = ":408: 408 Request Timeout\n\n"


async def streamed(wire: Wire, url: str, **headers: str) -> str:
    """Return everything that a stream sends until the server closes it."""
    answer = await wire.ask("GET", url, token=None, headers=headers)
    assert answer.status == 200
    return answer.text


def without_ids(text: str) -> str:
    return re.sub(r"id: \d+:\d+\n", "", text)


async def test_text_streams_as_server_sent_events(wire: Wire) -> None:
    prediction = await wire.run("acme/tokens", {"text": "Once| upon|a\nline|"})
    url = prediction["urls"]["stream"]

    answer = await wire.ask("GET", url, token=None)

    assert re.fullmatch(wire.server.url + "/streams/[a-z2-7]{52}", url)
    assert header(answer, "Content-Type") == "text/event-stream; charset=utf-8"
    assert re.match(r": hi\n\nevent: output\nid: \d+:0\ndata: Once\n\n", answer.text)
    assert without_ids(answer.text) == (
        ": hi\n\n"
        "event: output\ndata: Once\n\n"
        "event: output\ndata:  upon\n\n"
        "event: output\ndata: a\ndata: line\n\n"
        "event: output\ndata: \n\n"
        "event: done\ndata: {}\n\n" + TIMEOUT
    )


async def test_a_late_subscriber_reads_all_events(wire: Wire) -> None:
    prediction = await wire.finish("acme/tokens", {"text": "a|b"})

    first = await streamed(wire, prediction["urls"]["stream"])
    second = await streamed(wire, prediction["urls"]["stream"])

    assert first == second
    assert first.count("event: output") == 2


@pytest.mark.parametrize("by_query", [True, False])
async def test_a_stream_goes_on_after_the_last_event_id(wire: Wire, by_query: bool) -> None:
    prediction = await wire.finish("acme/tokens", {"text": "a|b|c"})
    url = prediction["urls"]["stream"]
    ids = re.findall(r"id: (\S+)", await streamed(wire, url))

    if by_query:
        rest = await streamed(wire, f"{url}?last_event_id={ids[1]}")
    else:
        rest = await streamed(wire, url, **{"Last-Event-ID": ids[1]})

    assert re.findall(r"id: (\S+)", rest) == ids[2:]
    assert "data: c\n" in rest


@pytest.mark.parametrize("last", ["x", "1:", "99999999999999999999999:1", "-1:0", "1:0"])
async def test_an_unknown_event_id_replays_everything(wire: Wire, last: str) -> None:
    prediction = await wire.finish("acme/tokens", {"text": "a|b"})

    text = await streamed(wire, prediction["urls"]["stream"], **{"Last-Event-ID": last})

    assert text.count("event: output") == 2


async def test_a_failure_is_an_error_event_and_the_reason_of_done(
    server: LocalReplicate, wire: Wire
) -> None:
    @server.model("acme/half")
    def half() -> ConcatenateIterator[str]:
        yield "so far"
        raise RuntimeError('no "luck"')

    prediction = await wire.finish("acme/half", {})

    text = await streamed(wire, prediction["urls"]["stream"])
    assert without_ids(text) == (
        ": hi\n\n"
        "event: output\ndata: so far\n\n"
        'event: error\ndata: {"detail":"no \\"luck\\""}\n\n'
        'event: done\ndata: {"reason":"error"}\n\n' + TIMEOUT
    )


async def test_events_arrive_while_the_model_runs(server: LocalReplicate, wire: Wire) -> None:
    more = asyncio.Event()

    @server.model("acme/steps")
    async def steps() -> AsyncIterator[str]:
        yield "one"
        await more.wait()
        yield "two"

    prediction = await wire.run("acme/steps", {})
    async with wire.session.get(prediction["urls"]["stream"]) as response:
        seen = b""
        while b"data: one" not in seen:
            seen += await response.content.readany()
        assert b"data: two" not in seen
        partial = await wire.get(f"/predictions/{prediction['id']}")
        assert (partial["status"], partial["output"]) == ("processing", ["one"])

        more.set()
        while b"event: done" not in seen:
            seen += await response.content.readany()
    assert b"data: two" in seen


async def test_cancelling_ends_the_stream_with_its_reason(
    server: LocalReplicate, wire: Wire
) -> None:
    @server.model("acme/endless")
    async def endless() -> AsyncIterator[str]:
        yield "one"
        await asyncio.Event().wait()

    prediction = await wire.run("acme/endless", {})
    reading = asyncio.create_task(streamed(wire, prediction["urls"]["stream"]))
    while not (await wire.get(f"/predictions/{prediction['id']}"))["output"]:
        pass

    await wire.ask("POST", f"/predictions/{prediction['id']}/cancel")

    assert 'event: done\ndata: {"reason":"canceled"}' in without_ids(await reading)


async def test_models_without_text_have_no_stream(wire: Wire) -> None:
    assert "stream" not in (await wire.run("acme/echo", {"text": "a"}))["urls"]


async def test_file_outputs_stream_as_urls(wire: Wire) -> None:
    answer = await wire.ask("POST", "/models/local/frames/predictions", json={"input": {}})
    prediction = answer.json
    assert re.fullmatch(wire.server.url + "/files/bcwr-[a-z2-7]{52}", prediction["urls"]["stream"])

    text = await streamed(wire, prediction["urls"]["stream"])

    urls = re.findall(r"event: output\nid: \S+\ndata: (\S+)", text)
    assert urls == (await wire.get(f"/predictions/{prediction['id']}"))["output"]
    assert (await wire.ask("GET", urls[0], token=None)).status == 200


async def test_unknown_streams_are_not_found(wire: Wire) -> None:
    for path in ("/streams/x", "/streams/" + "a" * 52, "/files/bcwr-" + "a" * 52):
        assert (await wire.ask("GET", path)).status == 404


async def test_a_stream_of_removed_data_has_no_events(wire: Wire) -> None:
    prediction = await wire.finish("acme/tokens", {"text": "a"})

    wire.server.advance(3601)

    assert await streamed(wire, prediction["urls"]["stream"]) == ": hi\n\n" + TIMEOUT


async def test_a_text_stream_has_metrics_of_tokens(wire: Wire) -> None:
    prediction = await wire.finish("acme/tokens", {"text": "one |two"})

    metrics = prediction["metrics"]
    assert (metrics["input_token_count"], metrics["output_token_count"]) == (2, 2)
    assert metrics["tokens_per_second"] > 0
    assert metrics["time_to_first_token"] >= 0


class TestLogsOnStreams:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(stream_logs=True, stream_linger=0.01, stream_idle_timeout=0.05)

    async def test_logs_can_be_events(self, wire: Wire) -> None:
        prediction = await wire.finish("acme/tokens", {"text": "a"})

        text = await streamed(wire, prediction["urls"]["stream"])

        assert "event: logs\ndata: reading\ndata: \n\n" in without_ids(text)

    async def test_a_silent_stream_is_closed(self, server: LocalReplicate, wire: Wire) -> None:
        @server.model("acme/silent")
        async def silent() -> AsyncIterator[str]:
            log("waiting")
            await asyncio.Event().wait()
            yield ""

        prediction = await wire.run("acme/silent", {})

        text = await streamed(wire, prediction["urls"]["stream"])
        assert text.endswith(TIMEOUT)
        assert "event: done" not in text


async def test_a_slow_subscriber_does_not_delay_others(server: LocalReplicate, wire: Wire) -> None:
    @server.model("acme/much")
    def much() -> ConcatenateIterator[str]:
        for _ in range(64):
            yield "x" * 65536

    prediction = await wire.run("acme/much", {})
    url = prediction["urls"]["stream"]
    async with aiohttp.ClientSession(read_bufsize=1024) as idle, idle.get(url) as response:
        assert response.status == 200

        ended = await wire.ended(prediction["id"])

        assert ended["status"] == "succeeded"
        assert (await streamed(wire, url)).count("event: output") == 64


async def test_closing_ends_streams(server: LocalReplicate, wire: Wire) -> None:
    @server.model("acme/endless")
    async def endless() -> AsyncIterator[str]:
        yield "one"
        await asyncio.Event().wait()

    prediction = await wire.run("acme/endless", {})
    async with wire.session.get(prediction["urls"]["stream"]) as response:
        await server.close()

        assert b'data: {"reason":"canceled"}' in await response.read()


def test_ids_count_within_a_second() -> None:
    clock = Clock()
    stream = Stream(clock)
    stream.send("output", "a")
    stream.send("output", "b")
    clock.advance(2)
    stream.send("output", "c")

    ids = re.findall(rb"id: (\d+):(\d+)", stream.batch(0)[0])

    assert [int(count) for _, count in ids] in ([0, 1, 0], [0, 0, 0])
    assert int(ids[2][0]) > int(ids[1][0])


def test_events_after_the_end_are_ignored() -> None:
    stream = Stream(Clock())
    stream.end("succeeded")
    stream.send("output", "late")

    assert len(stream) == 1
