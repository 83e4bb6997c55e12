"""Streams of runs that stay in the queue end, and say whether the run was cancelled."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from replicate_async import Poll, Timeout, WaitTimeout
from tests.runs.service import Run, Service

# An hour of many small steps, in which no answer can be too late.
pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock(settle=0.002)]

SELDOM: Final = Poll(first=600.0, starting=600.0, processing=600.0)
PATIENT: Final = Timeout(read=1e6, connect=1e6, stream=1e6)


def seconds() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [True, False])
async def test_final_ends_for_a_run_that_stays_in_the_queue(streamed: bool) -> None:
    service = Service(Run(status="starting", streamed=streamed))
    async with service.server, service.client(PATIENT) as client:
        begun = seconds()
        stream = client.predictions.stream("p", poll=SELDOM)
        async with stream:
            with pytest.raises(WaitTimeout) as caught:
                await stream.final()
        took = seconds() - begun

    assert caught.value.bound == "queue_timeout"
    assert 3600.0 <= took < 3700.0
    assert service.runs["p"].canceled == 0
    assert "it goes on" in str(caught.value)


@pytest.mark.slow
async def test_the_timeout_of_final_begins_after_the_queue() -> None:
    """Queued for 50 minutes and at work for 20, as a cold model under load may be."""

    def polled(run: Run) -> None:
        now = seconds() - begun
        run.status = "starting" if now < 3000 else "processing" if now < 4200 else "succeeded"

    run = Run(status="starting", streamed=False, output="Hello.", polled=polled)
    service = Service(run)
    async with service.server, service.client(PATIENT) as client:
        begun = seconds()
        async with client.predictions.stream("p", poll=SELDOM) as stream:
            assert (await stream.final()).output == "Hello."


@pytest.mark.slow
async def test_polling_a_run_without_a_stream_is_bounded() -> None:
    service = Service(Run(status="starting", streamed=False))
    async with service.server, service.client(PATIENT) as client:
        begun = seconds()
        async with client.predictions.stream("p", poll=SELDOM) as stream:
            with pytest.raises(WaitTimeout) as caught:
                async with asyncio.timeout(10_000):
                    await anext(stream.text())
        took = seconds() - begun

    assert caught.value.bound == "queue_timeout"
    assert 3600.0 <= took < 3700.0


async def test_a_stream_left_by_a_timeout_says_that_it_was_cancelled() -> None:
    service = Service(Run(status="starting", streamed=False))
    async with service.server, service.client(PATIENT) as client:
        with pytest.raises(WaitTimeout, match="it was canceled") as caught:
            async with client.stream("acme/echo", {}, poll=SELDOM) as stream:
                await stream.final()

    assert service.runs["p"].canceled == 1
    assert "it goes on" not in str(caught.value)
