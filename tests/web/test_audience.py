from __future__ import annotations

import pytest

from replicate_async import OutputEvent, Prediction, Replicate
from replicate_async.web import Audience, FollowedStream, ResumePoint, resume_point, to_sse
from tests.runs.service import Run, Service
from tests.support.wire import Answer
from tests.web.browser import assert_canceled
from tests.web.script import events

pytestmark = pytest.mark.anyio


async def first_output(stream: FollowedStream) -> str:
    async for event in stream:
        if isinstance(event, OutputEvent):
            return str(event)
    raise AssertionError("no output came")


async def silent(client: Replicate) -> Prediction:
    return await client.predictions.create("acme/silent", {})


async def test_a_prediction_that_nobody_follows_any_more_is_cancelled(client: Replicate) -> None:
    prediction = await silent(client)
    async with Audience(client, grace=0.05) as audience:
        async with audience.follow(prediction) as stream:
            assert await first_output(stream) == "wait"

        await assert_canceled(client)


async def test_who_comes_back_in_time_finds_it_running(client: Replicate) -> None:
    prediction = await silent(client)
    async with Audience(client, grace=1000) as audience:
        async with audience.follow(prediction) as stream:
            await first_output(stream)
        async with audience.follow(prediction.id) as stream:
            await first_output(stream)
            assert (await client.predictions.get(prediction)).status == "processing"


async def test_others_keep_it_running(client: Replicate) -> None:
    prediction = await silent(client)
    async with Audience(client, grace=0) as audience:
        async with audience.follow(prediction) as stays:
            async with audience.follow(prediction) as leaves:
                await first_output(leaves)
            assert await first_output(stays) == "wait"
            assert (await client.predictions.get(prediction)).status == "processing"

        await assert_canceled(client)


async def test_one_that_nobody_comes_to_follow_is_cancelled(client: Replicate) -> None:
    async with Audience(client, grace=0.05) as audience:
        audience.expect(await silent(client))

        await assert_canceled(client)


async def test_one_that_was_expected_is_followed(client: Replicate) -> None:
    prediction = await silent(client)
    async with Audience(client, grace=0.02) as audience:
        audience.expect(prediction)
        async with audience.follow(prediction) as stream:
            await first_output(stream)
            assert (await client.predictions.get(prediction)).status == "processing"


async def test_closing_cancels_at_once_what_is_not_followed(client: Replicate) -> None:
    async with Audience(client, grace=1000) as audience:
        prediction = await silent(client)
        audience.expect(prediction)

    assert (await client.predictions.get(prediction)).status == "canceled"


async def test_a_prediction_that_ended_is_left_alone(client: Replicate) -> None:
    prediction = await client.predictions.create("acme/greet", {"name": "Ada"})
    async with Audience(client, grace=0) as audience:
        async with audience.follow(prediction) as stream:
            received = events(b"".join([piece async for piece in to_sse(stream)]))

        point = resume_point({"Last-Event-ID": received[1].id})
        async with audience.follow(prediction, resume=point) as stream:
            assert await first_output(stream) == received[2].data

    assert (await client.predictions.get(prediction)).status == "succeeded"


async def test_following_twice_from_the_same_stream_counts_once(client: Replicate) -> None:
    prediction = await silent(client)
    async with Audience(client, grace=1000) as audience:
        stream = audience.follow(prediction)
        await stream.__aenter__()
        await stream.aclose()
        await stream.aclose()

    assert (await client.predictions.get(prediction)).status == "canceled"


async def test_a_browser_that_comes_back_after_the_stream_expired_gets_the_rest() -> None:
    run = Run(output=["Hello", " you", "!"], status="succeeded")
    run.answers = lambda _connection, _last: Answer(status=410, body=b"{}")
    service = Service(run)
    point = ResumePoint("p", "7:0", sent=5)
    async with (
        service.server,
        service.client() as client,
        Audience(client) as audience,
        audience.follow("p", resume=point) as stream,
    ):
        got = events(b"".join([piece async for piece in to_sse(stream, resume=point)]))

    assert [event.data for event in got] == [" you", "!", "{}"]
