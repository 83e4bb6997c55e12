from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from replicate_async import Replicate
from replicate_async.web import resume_point
from replicate_async.web.aiohttp import send_sse, send_text, send_ui_message
from tests.web.browser import Browser, assert_canceled, fetch, runs

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def running(client: Replicate, *, handler_cancellation: bool = False) -> AsyncGenerator[int]:
    async def run(request: web.Request) -> web.StreamResponse:
        stream = client.stream(f"acme/{request.match_info['model']}", dict(request.query))
        # Without heartbeats, whose failing would show that no browser reads.
        point = resume_point(request.headers)
        return await send_sse(request, stream, resume=point, ping=None, send_timeout=0.1)

    async def text(request: web.Request) -> web.StreamResponse:
        return await send_text(request, client.stream(f"acme/{request.match_info['model']}"))

    async def chat(request: web.Request) -> web.StreamResponse:
        return await send_ui_message(request, client.stream("acme/greet", {"name": "React"}))

    app = web.Application()
    app.add_routes(
        [web.get("/run/{model}", run), web.get("/text/{model}", text), web.post("/chat", chat)]
    )
    runner = web.AppRunner(
        app, handler_cancellation=handler_cancellation, shutdown_timeout=1, access_log=None
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("how", ["trickle", "silent", "flood"])
@pytest.mark.parametrize("handler_cancellation", [False, True])
async def test_a_browser_that_goes_away_cancels_the_prediction(
    client: Replicate, how: str, handler_cancellation: bool
) -> None:
    async with (
        running(client, handler_cancellation=handler_cancellation) as port,
        Browser(port) as browser,
    ):
        await browser.ask(f"/run/{how}")
        await browser.until(b"event: output")
        await browser.leave()

        await assert_canceled(client)


async def test_a_browser_that_does_not_read_cancels_the_prediction(client: Replicate) -> None:
    async with running(client) as port, Browser(port) as browser:
        await browser.ask("/run/flood")
        await browser.until(b"event: output")

        await assert_canceled(client)


async def test_a_whole_answer(client: Replicate) -> None:
    async with running(client) as port:
        answer = await fetch(port, "/run/greet?name=Ada")

    *output, done = answer.events
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "".join(event.data for event in output) == "Hello, Ada!\nHow are you?"
    assert done.event == "done"


async def test_a_message_for_use_chat(client: Replicate) -> None:
    async with running(client) as port:
        answer = await fetch(port, "/chat", "POST")

    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.events[-1].data == "[DONE]"


async def test_a_create_that_fails_has_a_status_of_its_own(client: Replicate) -> None:
    async with running(client) as port:
        answer = await fetch(port, "/run/greet")

    assert answer.status == 422
    assert b"name" in answer.body


async def test_a_head_request_runs_nothing(client: Replicate) -> None:
    async with running(client) as port:
        assert (await fetch(port, "/run/silent", "HEAD")).status == 200

    assert await runs(client) == []


async def test_a_browser_that_saw_the_end_gets_no_new_prediction(client: Replicate) -> None:
    async with running(client) as port:
        first = await fetch(port, "/run/greet?name=Ada")
        again = await fetch(port, "/run/greet?name=Ada", Last_Event_ID=first.events[-1].id)

    assert again.status == 204
    assert len(await runs(client)) == 1


async def test_text_of_a_failed_model_breaks_off(client: Replicate) -> None:
    async with running(client) as port:
        with pytest.raises(AssertionError, match="broke off"):
            await fetch(port, "/text/broken")
