from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from replicate_async import (
    ClientStateError,
    InvalidArgumentError,
    NotFoundError,
    OutputEvent,
    Prediction,
    Replicate,
)
from replicate_async.web import ResumePoint, Viewers, ViewerStream, resume_point, to_sse
from tests.runs.service import Run, Service, output
from tests.support.replies import PREDICTION_ID
from tests.support.replies import prediction as reply
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer
from tests.web.browser import assert_canceled
from tests.web.script import events

pytestmark = pytest.mark.anyio


async def first_output(stream: ViewerStream) -> str:
    async for event in stream:
        if isinstance(event, OutputEvent):
            return str(event)
    raise AssertionError("no output came")


async def silent(client: Replicate) -> Prediction:
    return await client.predictions.create("acme/silent", {})


async def test_a_prediction_without_viewers_is_cancelled(client: Replicate) -> None:
    prediction = await silent(client)
    async with Viewers(client, grace_period=0.05) as viewers:
        async with viewers.stream(prediction) as stream:
            assert await first_output(stream) == "wait"

        await assert_canceled(client)


async def test_a_browser_that_reconnects_in_time_keeps_it_running(client: Replicate) -> None:
    prediction = await silent(client)
    async with Viewers(client, grace_period=1000) as viewers:
        async with viewers.stream(prediction) as stream:
            await first_output(stream)
        async with viewers.stream(prediction.id) as stream:
            await first_output(stream)
            assert (await client.predictions.get(prediction)).status == "processing"


async def test_another_viewer_keeps_it_running(client: Replicate) -> None:
    prediction = await silent(client)
    async with Viewers(client, grace_period=0) as viewers:
        async with viewers.stream(prediction) as stays:
            async with viewers.stream(prediction) as leaves:
                await first_output(leaves)
            assert await first_output(stays) == "wait"
            assert (await client.predictions.get(prediction)).status == "processing"

        await assert_canceled(client)


async def test_a_tracked_prediction_without_viewers_is_cancelled(client: Replicate) -> None:
    async with Viewers(client, grace_period=0.05) as viewers:
        viewers.track(await silent(client))

        await assert_canceled(client)


@pytest.mark.virtual_clock
async def test_a_tracked_prediction_with_a_viewer_runs_on() -> None:
    run = Run(output(["wait"])[:-1])
    service = Service(run)
    async with (
        service.server,
        service.client() as client,
        Viewers(client, grace_period=60) as viewers,
    ):
        prediction = await client.predictions.get("p")
        viewers.track(prediction)
        async with viewers.stream(prediction) as stream:
            await first_output(stream)
            await asyncio.sleep(3600)
            assert run.canceled == 0


async def test_closing_cancels_predictions_without_viewers_at_once(client: Replicate) -> None:
    async with Viewers(client, grace_period=1000) as viewers:
        prediction = await silent(client)
        viewers.track(prediction)

    assert (await client.predictions.get(prediction)).status == "canceled"


async def test_a_prediction_that_ended_is_left_alone(client: Replicate) -> None:
    prediction = await client.predictions.create("acme/greet", {"name": "Ada"})
    async with Viewers(client, grace_period=0) as viewers:
        async with viewers.stream(prediction) as stream:
            received = events(b"".join([piece async for piece in to_sse(stream)]))

        point = resume_point({"Last-Event-ID": received[1].id})
        async with viewers.stream(prediction, resume=point) as stream:
            assert await first_output(stream) == received[2].data

    assert (await client.predictions.get(prediction)).status == "succeeded"


@pytest.mark.virtual_clock
async def test_a_prediction_whose_end_was_streamed_is_not_asked_to_cancel() -> None:
    run = Run(output(["all"]), status="succeeded")
    service = Service(run)
    async with (
        service.server,
        service.client() as client,
        Viewers(client, grace_period=1) as viewers,
    ):
        async with viewers.stream("p") as stream:
            assert [str(event) async for event in stream if isinstance(event, OutputEvent)]
        await asyncio.sleep(60)

    assert run.canceled == 0


async def test_closing_a_stream_twice_counts_once(client: Replicate) -> None:
    prediction = await silent(client)
    async with Viewers(client, grace_period=1000) as viewers:
        stream = viewers.stream(prediction)
        await stream.__aenter__()
        await stream.aclose()
        await stream.aclose()

    assert (await client.predictions.get(prediction)).status == "canceled"


async def test_a_browser_that_reconnects_after_the_stream_expired_gets_the_rest() -> None:
    run = Run(output=["Hello", " you", "!"], status="succeeded")
    run.answers = lambda _connection, _last: Answer(status=410, body=b"{}")
    service = Service(run)
    point = ResumePoint("p", "7:0", chars_sent=5)
    async with (
        service.server,
        service.client() as client,
        Viewers(client) as viewers,
        viewers.stream("p", resume=point) as stream,
    ):
        got = events(b"".join([piece async for piece in to_sse(stream, resume=point)]))

    assert [event.data for event in got] == [" you", "!", "{}"]


@pytest.mark.virtual_clock
async def test_a_browser_that_is_back_before_the_api_answers_keeps_it_running() -> None:
    asked, answered = asyncio.Event(), asyncio.Event()
    cancels = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal cancels
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                cancels += b"/cancel" in head
                if b"GET" in head:
                    asked.set()
                    await answered.wait()
                body = json.dumps(reply("http://x", status="processing")).encode()
                lines = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
                writer.write(lines.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, Replicate(TOKEN, base_url=url) as client:
        viewers = Viewers(client, grace_period=0.05)
        answered.set()
        async with viewers.stream(PREDICTION_ID):
            answered.clear()
            asked.clear()
        again = asyncio.create_task(viewers.stream(PREDICTION_ID).__aenter__())
        await asked.wait()
        # Timers ring in their order: the grace is over when this one, set later, has rung.
        await asyncio.sleep(0.1)
        answered.set()
        stream = await again
        await viewers.aclose()  # waits for the cancelled runs
        assert cancels == 0
        await stream.aclose()
        await viewers.aclose()
        assert cancels == 1


async def test_a_browser_whose_stream_is_refused_is_no_viewer(client: Replicate) -> None:
    prediction = await silent(client)
    async with Viewers(client, grace_period=1000) as viewers:
        async with viewers.stream(prediction) as stream:
            await first_output(stream)
            with pytest.raises(ClientStateError):
                await stream.__aenter__()
            assert (await client.predictions.get(prediction)).status == "processing"
        with pytest.raises(NotFoundError):
            await viewers.stream("no-such-prediction").__aenter__()

    assert (await client.predictions.get(prediction)).status == "canceled"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "3", None])
def test_a_grace_period_out_of_range_is_refused(seconds: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"grace_period=.* must be a number of seconds"):
        Viewers(Replicate(TOKEN), grace_period=seconds)


async def test_closed_viewers_say_so_and_leave_the_prediction_alone(client: Replicate) -> None:
    prediction = await silent(client)
    async with Viewers(client, grace_period=0) as viewers:
        pass

    with pytest.raises(ClientStateError, match="The viewers are closed"):
        viewers.track(prediction)
    with pytest.raises(ClientStateError, match="The viewers are closed"):
        viewers.stream(prediction)
