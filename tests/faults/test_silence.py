"""Silent servers: the error, the time until it is raised, and the connections that are left."""

from __future__ import annotations

import asyncio

import aiohttp
import anyio
import pytest

from replicate_async import APITimeoutError, Replicate, Timeout
from tests.faults.calls import ONCE, client_of
from tests.support import replies
from tests.support.deaf_server import deaf_server
from tests.support.fault_server import FaultServer
from tests.support.sentinel import caught
from tests.support.virtual_time import VirtualSocketLoop
from tests.support.wire import Answer, Ending, Request

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock]


SHORT = Timeout(read=0.08)
SILENT = Answer(cut=0, ending=Ending.HANG)


def prediction(request: Request) -> Answer:
    base = f"http://{request.header('Host')}/v1"
    return replies.json_answer(replies.prediction(base), 200)


async def test_an_answer_may_take_longer_than_the_limit_as_long_as_it_comes() -> None:
    def slowly(request: Request) -> Answer:
        answer = prediction(request)
        return Answer(body=answer.body, step=len(answer.body) // 12, pause=0.02)

    async with (
        FaultServer(slowly) as server,
        client_of(server, timeout=SHORT, retry=ONCE) as client,
    ):
        assert (await client.predictions.get(replies.PREDICTION_ID)).status == "succeeded"


async def test_an_answer_that_stops_in_the_middle_is_given_up() -> None:
    def stops(request: Request) -> Answer:
        body = prediction(request).body
        return Answer(body=body, step=50, pause=0.01, cut=300, ending=Ending.HANG)

    async with (
        FaultServer(stops) as server,
        client_of(server, timeout=SHORT, retry=ONCE) as client,
    ):
        with caught(APITimeoutError):
            await client.predictions.get(replies.PREDICTION_ID)
        await server.until_idle()


async def test_nothing_of_a_timeout_is_left_in_the_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    async with (
        FaultServer(lambda _: SILENT) as server,
        client_of(server, timeout=SHORT, retry=ONCE) as client,
    ):
        for _ in range(2):
            with caught(APITimeoutError):
                await client.predictions.get("abc")
            assert task.cancelling() == 0
            await asyncio.sleep(0)


async def test_a_cancel_near_the_timeout_is_obeyed() -> None:
    async with (
        FaultServer(lambda _: SILENT) as server,
        client_of(server, timeout=SHORT, retry=ONCE) as client,
    ):
        for after in (0.06, 0.08, 0.1):
            call = asyncio.create_task(client.predictions.get("abc"))
            asyncio.get_running_loop().call_later(after, call.cancel)
            with pytest.raises((asyncio.CancelledError, APITimeoutError)):
                await call
            assert call.cancelled() or after >= 0.08


IN_THE_BODY = Answer(body=b"{" * 1000, cut=150, ending=Ending.HANG)


@pytest.mark.parametrize("answer", [SILENT, IN_THE_BODY], ids=["silent", "in the body"])
async def test_a_cancel_at_the_moment_of_the_timeout_is_a_cancel(answer: Answer) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualSocketLoop)
    async with (
        FaultServer(lambda _: answer) as server,
        client_of(server, timeout=SHORT, retry=ONCE) as client,
    ):
        call = asyncio.create_task(client.predictions.get("abc"))
        await asyncio.sleep(0.04)
        assert len(server.requests) == 1
        call.cancel()
        # The limit passes before the loop turns again, so that both come in one turn of it.
        loop.elapse(0.2)
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_deadline_around_a_call_is_the_callers() -> None:
    async with (
        FaultServer(lambda _: SILENT) as server,
        client_of(server, timeout=Timeout(read=5), retry=ONCE) as client,
    ):
        with anyio.move_on_after(0.05) as scope:
            await client.predictions.get("abc")
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.predictions.get("abc")


async def test_calls_with_other_limits_do_not_share_them() -> None:
    async with (
        FaultServer(lambda _: SILENT) as server,
        client_of(server, timeout=Timeout(read=30), retry=ONCE) as patient,
        client_of(server, timeout=SHORT, retry=ONCE) as short,
    ):
        waiting = asyncio.create_task(patient.predictions.get("abc"))
        await asyncio.sleep(0.01)
        with caught(APITimeoutError):
            await short.predictions.get("abc")
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_what_has_no_connection_is_not_given_up_for_silence() -> None:
    timeout = Timeout(connect=0.15, read=0.02)
    with deaf_server() as url:
        async with Replicate("r8_x", base_url=url, timeout=timeout, retry=ONCE) as client:
            with caught(APITimeoutError) as found:
                await client.predictions.create(replies.VERSION_ID, {})

    assert found.error.phase == "not_sent"


async def test_a_session_of_the_callers_is_not_waited_for_longer() -> None:
    async with (
        FaultServer(lambda _: SILENT) as server,
        aiohttp.ClientSession() as session,
        Replicate(
            "r8_x", base_url=server.url, session=session, timeout=SHORT, retry=ONCE
        ) as client,
    ):
        with caught(APITimeoutError):
            await client.predictions.get("abc")


async def test_a_large_body_may_take_its_time_to_be_sent_but_its_answer_may_not() -> None:
    async with (
        FaultServer(lambda _: SILENT) as server,
        client_of(server, timeout=SHORT, retry=ONCE) as client,
    ):
        with caught(APITimeoutError):
            await client.predictions.create(replies.VERSION_ID, {"text": "x" * 500_000})
