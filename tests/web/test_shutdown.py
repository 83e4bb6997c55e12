"""Open streams end when the server stops, and predictions with them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from replicate_async import InvalidArgumentError, Replicate
from replicate_async.local import LocalReplicate
from replicate_async.runs.streaming.events import OutputEvent
from replicate_async.web import StreamShutdown, to_sse, to_text, to_ui_message_stream
from tests.support.ports import free_port
from tests.support.waiting import HANG
from tests.web.browser import Browser, runs
from tests.web.example import listens
from tests.web.script import Script, events

pytestmark = pytest.mark.anyio

TABS: Final = 50


def talking() -> Script:
    """Return a stream that says something, and then nothing for an hour."""
    return Script(OutputEvent("Hello"), 3600.0, OutputEvent("never"))


@pytest.mark.virtual_clock
async def test_events_go_on_within_the_grace_period_and_then_end_without_done() -> None:
    shutdown = StreamShutdown(grace_period=5)
    stream = Script(OutputEvent("Hello"), shutdown.stop, 3.0, OutputEvent(" you"), 3600.0)
    started = asyncio.get_running_loop().time()

    received = events(b"".join([p async for p in to_sse(stream, ping=None, shutdown=shutdown)]))

    assert [(event.event, event.data) for event in received] == [
        ("output", "Hello"),
        ("output", " you"),
    ]
    assert asyncio.get_running_loop().time() - started == pytest.approx(5)


@pytest.mark.virtual_clock
async def test_a_message_for_use_chat_ends_with_an_error() -> None:
    shutdown = StreamShutdown(grace_period=1)
    pieces: list[bytes] = []
    async for piece in to_ui_message_stream(talking(), ping=None, shutdown=shutdown):
        pieces.append(piece)
        shutdown.stop()

    whole = b"".join(pieces)
    assert b'"errorText":"The server was stopped."' in whole
    assert whole.endswith(b"data: [DONE]\n\n")


@pytest.mark.virtual_clock
async def test_a_text_breaks_off() -> None:
    shutdown = StreamShutdown(grace_period=1)
    text = to_text(talking(), shutdown=shutdown)
    assert await anext(text) == b"Hello"
    shutdown.stop()

    with pytest.raises(ConnectionAbortedError):
        await anext(text)


@pytest.mark.virtual_clock
async def test_a_stream_that_ends_within_the_grace_period_is_whole() -> None:
    shutdown = StreamShutdown(grace_period=5)
    stream = Script(OutputEvent("Hello"), shutdown.stop, 3.0, OutputEvent(" you"))

    received = events(b"".join([p async for p in to_sse(stream, ping=None, shutdown=shutdown)]))

    assert [event.event for event in received] == ["output", "output", "done"]


@pytest.mark.virtual_clock
async def test_a_stream_that_begins_after_the_end_ends_at_once() -> None:
    async with StreamShutdown(grace_period=0) as shutdown:
        shutdown.stop()
    async with aclosing(to_sse(talking(), ping=None, shutdown=shutdown)) as pieces:
        received = events(b"".join([piece async for piece in pieces]))

    assert received == []


async def test_signals_call_stop_and_then_the_earlier_handler() -> None:
    called: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: called.append(number))
    try:
        ours = signal.getsignal(signal.SIGTERM)
        async with StreamShutdown(grace_period=0) as shutdown:
            pieces = to_sse(talking(), ping=None, shutdown=shutdown)
            await anext(pieces)
            signal.raise_signal(signal.SIGTERM)
            received = events(b"".join([piece async for piece in pieces]))
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)

    assert called == [signal.SIGTERM]
    assert [event.data for event in received] == ["Hello"]


APP = """
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI, Request

from replicate_async import InvalidArgumentError, Replicate
from replicate_async.web import StreamShutdown
from replicate_async.web.starlette import SSEResponse


class State(TypedDict):
    client: Replicate
    shutdown: StreamShutdown


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    async with Replicate() as client, StreamShutdown(grace_period=0.1) as shutdown:
        yield {"client": client, "shutdown": shutdown}


app = FastAPI(lifespan=lifespan)


@app.get("/story", response_class=SSEResponse)
async def story(request: Request) -> SSEResponse:
    client: Replicate = request.state.client
    return SSEResponse(client.stream("acme/silent", {}), shutdown=request.state.shutdown)
"""


async def serve(folder: Path, server: LocalReplicate, port: int) -> Process:
    (folder / "story_app.py").write_text(APP)
    # A server that has to wait for its timeout would be killed by the test.
    options = ["--port", str(port), "--timeout-graceful-shutdown", str(int(10 * HANG))]
    return await create_subprocess_exec(
        sys.executable, "-m", "uvicorn", "story_app:app", *options,
        cwd=folder,
        env={
            **os.environ,
            "REPLICATE_API_TOKEN": server.api_token,
            "REPLICATE_BASE_URL": server.url,
        },
        stdout=PIPE,
        stderr=PIPE,
    )  # fmt: skip


async def test_an_app_with_open_tabs_stops_after_sigterm(
    tmp_path: Path, server: LocalReplicate, client: Replicate
) -> None:
    port = free_port()
    process = await serve(tmp_path, server, port)
    try:
        await listens(port)
        async with AsyncExitStack() as tabs:
            for _ in range(TABS):
                tab = await tabs.enter_async_context(Browser(port))
                await tab.ask("/story")
                await tab.until(b"event: output")
            process.terminate()
            with anyio.fail_after(HANG):
                _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()

    assert b"Application shutdown complete" in said, said.decode()
    assert b"Traceback" not in said
    assert [run.status for run in await runs(client)] == ["canceled"] * TABS


@pytest.mark.parametrize("seconds", [-1, float("nan"), "1"])
def test_a_grace_period_out_of_range_is_refused(seconds: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"grace_period=.* must be a number of seconds"):
        StreamShutdown(grace_period=seconds)
