"""No frame of a traceback that leaves the package holds the token."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import aiohttp
import anyio
import pytest

from replicate_async import APIConnectionError, FileOutput, Poll, Replicate, ReplicateError, Timeout
from replicate_async.context import context_of
from tests.faults.calls import AT_ONCE, CREATES, ONCE, READS, Call, client_of
from tests.support.cancel_sweep import CancelAt
from tests.support.fault_server import FaultServer
from tests.support.replies import events, json_answer, prediction, service, stream_answer
from tests.support.sentinel import TOKEN, assert_frames_clean, assert_silent
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio

QUICK: Final = Poll(first=0.001, starting=0.001, processing=0.001)


async def stream(client: Replicate) -> None:
    async with client.predictions.stream("streamed") as following:
        async for _ in following:
            pass


async def read_file(client: Replicate) -> None:
    await FileOutput(f"{context_of(client).base.url}/files/abc").with_client(client).read()


async def read_delivered_file(client: Replicate) -> None:
    await FileOutput(f"{context_of(client).base.origin}/out.png").with_client(client).read()


async def upload(client: Replicate) -> None:
    async def content() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000
            await asyncio.sleep(0)

    await client.files.create(content(), filename="a.bin")


async def batch(client: Replicate) -> None:
    async for result in client.batch("acme/echo:" + "5" * 64, [{"text": "a"}], poll=QUICK):
        if result.error is not None:
            raise result.error


CALLS: Final[dict[str, Call]] = {
    "predictions.create": CREATES["predictions.create"],
    "predictions.get": READS["predictions.get"],
    "predictions.list": READS["predictions.list"],
    "files.create": upload,
    "run": lambda c: c.run("acme/echo", {}, poll=QUICK),
    "batch": batch,
    "stream": stream,
    "an upload": read_file,
    "an output file": read_delivered_file,
}


def answers(server: FaultServer, request: Request) -> Answer:
    if request.path.startswith("/v1/files/") or request.path == "/out.png":
        return Answer(body=b"content", step=3, pause=0.001)
    if request.path == "/v1/streams/s":
        body = events(("output", "a"), ("output", "b"))
        return stream_answer(body)
    if request.path == "/v1/predictions/streamed":
        url = f"{server.url}/streams/s"
        return json_answer(prediction(server.url, id="s", status="processing", stream=url))
    return service(server.url, request)


def of_session(server: FaultServer, session: aiohttp.ClientSession) -> Replicate:
    return Replicate(TOKEN, base_url=server.url, session=session, retry=AT_ONCE)


def assert_shows_nothing(error: BaseException) -> None:
    printed = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert_silent("".join(printed.format()), "a traceback with its locals")
    assert_frames_clean(error)


@pytest.mark.parametrize("whose", ["its own session", "a session of the caller's"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_call_leaves_no_token_in_its_traceback(name: str, whose: str) -> None:
    async with (
        FaultServer(lambda request: answers(server, request)) as server,
        aiohttp.ClientSession() as session,
    ):
        for point in range(1, 200):
            own = whose == "its own session"
            client = client_of(server) if own else of_session(server, session)
            async with client:
                call = CALLS[name](client)
                assert asyncio.iscoroutine(call)
                interrupted = CancelAt(call, point)
                try:
                    await asyncio.ensure_future(_awaited(interrupted))
                except asyncio.CancelledError as error:
                    assert_shows_nothing(error)
            if not interrupted.cancelled:
                break
        else:
            raise AssertionError("the call did not end")
    assert point > 2


async def _awaited(interrupted: CancelAt) -> None:
    await interrupted


SILENT: Final = Answer(cut=0, ending=Ending.HANG)
HEAD_ONLY: Final = Answer(body=b"{" * 1000, cut=150, ending=Ending.HANG)


@pytest.mark.parametrize("answer", [SILENT, HEAD_ONLY], ids=["silent", "in the body"])
@pytest.mark.parametrize("way", ["asyncio", "anyio", "wait_for", "cancel"])
@pytest.mark.parametrize("name", ["predictions.create", "files.create", "an upload"])
async def test_a_deadline_of_the_caller_leaves_no_token_in_its_traceback(
    name: str, way: str, answer: Answer
) -> None:
    asked = asyncio.Event()
    ended: BaseException = AssertionError("nothing was raised")

    def handler(_request: Request) -> Answer:
        asked.set()
        return answer

    async with FaultServer(handler) as server, client_of(server) as client:
        task = asyncio.current_task()
        assert task is not None

        async def call() -> None:
            await CALLS[name](client)

        try:
            if way == "asyncio":
                async with asyncio.timeout(0.05):
                    await call()
            elif way == "anyio":
                with anyio.fail_after(0.05):
                    await call()
            elif way == "wait_for":
                await asyncio.wait_for(call(), 0.05)
            else:
                inner = asyncio.ensure_future(call())
                await asked.wait()
                inner.cancel()
                await inner
        except (TimeoutError, asyncio.CancelledError) as error:
            ended = error
    assert_shows_nothing(ended)
    assert isinstance(ended, TimeoutError) == (way != "cancel")


async def test_a_cancel_scope_of_anyio_still_knows_its_own_cancellation() -> None:
    async with FaultServer(lambda _request: SILENT) as server, client_of(server) as client:
        with anyio.move_on_after(0.02) as scope:
            await client.predictions.get("abc")

    assert scope.cancelled_caught


async def test_what_the_caller_was_handling_stays_the_context_of_a_cancel() -> None:
    asked = asyncio.Event()

    def handler(_request: Request) -> Answer:
        asked.set()
        return SILENT

    async def call() -> None:
        try:
            dict[str, int]().pop("before")
        except LookupError:
            await client.predictions.get("abc")

    async with FaultServer(handler) as server, client_of(server) as client:
        task = asyncio.ensure_future(call())
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task

    link: BaseException | None = caught.value
    while link is not None and not isinstance(link, LookupError):
        link = link.__context__
    assert link is not None


@pytest.mark.parametrize("fault", [RuntimeError("odd"), KeyError("odd"), AssertionError("odd")])
async def test_an_error_of_a_given_session_has_no_token_in_its_traceback(
    fault: Exception,
) -> None:
    async def raising(*_: object) -> None:
        raise fault

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(raising)
    async with (
        FaultServer(lambda request: service("", request)) as server,
        aiohttp.ClientSession(trace_configs=[tracing]) as session,
    ):
        client = of_session(server, session)
        with pytest.raises(APIConnectionError, match=type(fault).__name__) as caught:
            await client.predictions.get("abc")

    assert_shows_nothing(caught.value)
    assert any("in raising" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("name", ["predictions.create", "predictions.get", "run", "batch"])
async def test_a_read_timeout_leaves_no_token_in_its_traceback(name: str) -> None:
    quick = Timeout(read=0.02, stream=0.02)
    async with (
        FaultServer(lambda _request: HEAD_ONLY) as server,
        client_of(server, retry=ONCE, timeout=quick) as client,
    ):
        with pytest.raises(ReplicateError) as caught:
            await CALLS[name](client)

    assert_shows_nothing(caught.value)


async def test_an_iterator_that_breaks_leaves_no_token_in_its_traceback() -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise LookupError("broken")

    async with (
        FaultServer(lambda request: service("", request)) as server,
        client_of(server) as client,
    ):
        with pytest.raises(Exception) as caught:
            await client.files.create(content(), filename="a.bin")

    assert_shows_nothing(caught.value)


async def test_a_request_in_flight_beside_a_failure_is_not_shown() -> None:
    def handler(request: Request) -> Answer:
        return SILENT if request.path.endswith("silent") else Answer(status=500)

    async with FaultServer(handler) as server, client_of(server, retry=ONCE) as client:
        silent = asyncio.ensure_future(client.predictions.get("silent"))
        with pytest.raises(ReplicateError) as caught:
            await client.predictions.get("abc")
        assert_silent(repr(caught.value), "the error")
        assert_frames_clean(caught.value)
        silent.cancel()
        with suppress(asyncio.CancelledError):
            await silent
