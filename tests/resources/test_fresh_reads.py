"""Reads of runs ask caches on the way not to answer."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from replicate_async import Limits, Poll, Prediction, Replicate, Training
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, page, prediction
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


def service(request: Request) -> Answer:
    base = f"http://{request.header('Host')}/v1"
    path = request.path.partition("?")[0]
    if request.method == "GET" and path.endswith(("/predictions", "/trainings")):
        return json_answer(page(prediction(base, id="listed")))
    return json_answer(prediction(base, id=path.rpartition("/")[2]))


async def test_every_read_of_a_run_sends_no_cache() -> None:
    async with (
        FaultServer(service) as server,
        Replicate(TOKEN, base_url=server.url, limits=Limits(enabled=False)) as client,
    ):
        await client.predictions.get("a")
        await client.trainings.get("a")
        await client.predictions.wait("b")
        await client.trainings.wait("b")
        assert [item.id async for item in client.predictions.list()] == ["listed"]
        assert [item.id async for item in client.trainings.list()] == ["listed"]

        assert len(server.requests) == 6
        assert {request.header("cache-control") for request in server.requests} == {"no-cache"}

        await client.predictions.cancel("a")
        await client.predictions.create("a" * 64)
        assert [request.header("cache-control") for request in server.requests[6:]] == [None, None]


@pytest.mark.parametrize("kind", [Prediction, Training])
async def test_the_pages_of_waits_send_no_cache(
    kind: type[Prediction | Training],
) -> None:
    async with (
        FaultServer(service) as server,
        Replicate(TOKEN, base_url=server.url, limits=Limits(enabled=False)) as client,
    ):
        waits = client.predictions if kind is Prediction else client.trainings
        pace = Poll(first=0.01)
        going = [
            msgspec.convert(prediction(server.url, id=f"r{at}", status="processing"), kind)
            for at in range(20)
        ]
        await asyncio.gather(
            *(waits.wait(run, poll=pace) for run in going)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - of the same kind
        )
        listing = [r for r in server.requests if r.path.partition("?")[0].endswith("ings")]
        listing += [r for r in server.requests if r.path.partition("?")[0].endswith("predictions")]

    assert listing
    assert {request.header("cache-control") for request in listing} == {"no-cache"}
