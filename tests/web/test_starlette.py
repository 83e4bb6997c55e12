from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from replicate_async.web import resume_point
from replicate_async.web.starlette import SSEResponse, TextResponse, UIMessageResponse
from tests.support.waiting import HANG
from tests.web.asgi import SERVERS, App, Running, on_uvicorn
from tests.web.browser import Browser, assert_canceled, fetch, runs

pytestmark = pytest.mark.anyio


def plain(client: Replicate, middleware: list[Middleware] | None = None) -> Starlette:
    finished: list[str] = []

    # Without heartbeats, whose failing would show that no browser reads.
    async def run(request: Request) -> Response:
        stream = client.stream(f"acme/{request.path_params['model']}", dict(request.query_params))
        point = resume_point(request.headers)
        done = BackgroundTask(finished.append, "x")
        return SSEResponse(stream, resume=point, ping=None, background=done)

    async def text(request: Request) -> Response:
        return TextResponse(client.stream("acme/greet", dict(request.query_params)))

    async def chat(_: Request) -> Response:
        return UIMessageResponse(client.stream("acme/greet", {"name": "React"}))

    async def follow(request: Request) -> Response:
        name = request.path_params["id"]
        point = resume_point(request.headers, request.query_params, prediction_id=name)
        last = point.last_event_id if point else None
        return SSEResponse(client.predictions.stream(name, last_event_id=last), resume=point)

    routes = [
        Route("/run/{model}", run, methods=["GET", "POST"]),
        Route("/text", text),
        Route("/chat", chat, methods=["POST"]),
        Route("/follow/{id}", follow),
    ]
    app = Starlette(routes=routes, middleware=middleware or [])
    app.state.finished = finished
    return app


def fast(client: Replicate) -> FastAPI:
    app = FastAPI()

    @app.get("/run/{model}")
    async def run(model: str) -> SSEResponse:
        return SSEResponse(client.stream(f"acme/{model}"), ping=None)

    return app


class PassOn(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


@pytest.mark.parametrize("how", ["trickle", "silent", "flood"])
@pytest.mark.parametrize("server_name", [*SERVERS, "fastapi", "middleware"])
async def test_a_browser_that_goes_away_cancels_the_prediction(
    client: Replicate, server_name: str, how: str
) -> None:
    app: App = plain(client)
    running: Running = on_uvicorn
    if server_name == "fastapi":
        app = fast(client)
    elif server_name == "middleware":
        app = plain(client, [Middleware(PassOn), Middleware(GZipMiddleware)])
    else:
        running = SERVERS[server_name]

    async with running(app) as port, Browser(port) as browser:
        await browser.ask(f"/run/{how}")
        await browser.until(b"event: output")
        await browser.leave()

        await assert_canceled(client)


@pytest.mark.parametrize("server_name", SERVERS)
async def test_a_browser_that_does_not_read_cancels_the_prediction(
    client: Replicate, server_name: str
) -> None:
    async def run(_: Request) -> Response:
        return SSEResponse(client.stream("acme/flood"), ping=None, send_timeout=0.1)

    app = Starlette(routes=[Route("/", run)])
    async with SERVERS[server_name](app) as port, Browser(port) as browser:
        await browser.ask("/")
        await browser.until(b"event: output")

        await assert_canceled(client)
        await browser.leave()


@pytest.mark.parametrize("stuck", ["at its head", "at its end"])
async def test_a_server_whose_send_blocks_is_left(client: Replicate, stuck: str) -> None:
    forever = asyncio.Event()

    async def receive() -> Message:
        await forever.wait()
        raise AssertionError

    async def send(message: Message) -> None:
        is_start = message["type"] == "http.response.start"
        is_end = not is_start and not message["more_body"]
        if is_start if stuck == "at its head" else is_end:
            await forever.wait()

    response = TextResponse(client.stream("acme/greet", {"name": "Ada"}), send_timeout=0.01)
    async with asyncio.timeout(HANG):
        await response({"type": "http", "method": "GET"}, receive, send)


async def test_a_whole_answer(client: Replicate) -> None:
    async with on_uvicorn(plain(client)) as port:
        answer = await fetch(port, "/run/greet?name=Ada")

    *output, done = answer.events
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert "content-length" not in answer.headers
    assert "".join(event.data for event in output) == "Hello, Ada!\nHow are you?"
    assert done.event == "done"
    (prediction,) = await runs(client)
    assert prediction.status == "succeeded"


async def test_the_background_task_runs_after_the_answer(client: Replicate) -> None:
    app = plain(client)
    async with on_uvicorn(app) as port:
        await fetch(port, "/run/greet?name=Ada")

    assert app.state.finished == ["x"]


async def test_text_alone(client: Replicate) -> None:
    async with on_uvicorn(plain(client)) as port:
        answer = await fetch(port, "/text?name=Ada")

    assert answer.body.decode() == "Hello, Ada!\nHow are you?"


async def test_a_message_for_use_chat(client: Replicate) -> None:
    async with on_uvicorn(plain(client)) as port:
        answer = await fetch(port, "/chat", "POST")

    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.events[-1].data == "[DONE]"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/run/greet?name=Ada&nmae=x", 200, "Hello"),
        ("/run/greet", 422, "name"),
        ("/run/none", 404, ""),
    ],
)
async def test_a_create_that_fails_has_a_status_of_its_own(
    client: Replicate, path: str, status: int, words: str
) -> None:
    async with on_uvicorn(plain(client)) as port:
        answer = await fetch(port, path)

    assert answer.status == status
    assert words in answer.body.decode()


async def test_a_wrong_token_is_a_502(server: LocalReplicate) -> None:
    async with (
        Replicate("r8_wrong", base_url=server.url) as client,
        on_uvicorn(plain(client)) as port,
    ):
        answer = await fetch(port, "/run/greet?name=Ada")

    assert answer.status == 502
    assert b"token" not in answer.body.lower()


async def test_a_head_request_runs_nothing(client: Replicate) -> None:
    async with on_uvicorn(plain(client)) as port:
        answer = await fetch(port, "/run/greet?name=Ada", "HEAD")

    assert answer.status == 200
    assert await runs(client) == []


async def test_the_error_of_a_failed_model_is_the_last_but_one_event(client: Replicate) -> None:
    async with on_uvicorn(plain(client)) as port:
        answer = await fetch(port, "/run/broken")

    output, error, done = answer.events
    assert (output.data, error.event, done.data) == ("so far", "error", '{"reason":"error"}')
    assert "out of memory" in error.data


async def test_a_browser_that_saw_the_end_gets_no_new_prediction(client: Replicate) -> None:
    async with on_uvicorn(plain(client)) as port:
        first = await fetch(port, "/run/greet?name=Ada")
        again = await fetch(port, "/run/greet?name=Ada", Last_Event_ID=first.events[-1].id)

    assert (again.status, again.body) == (204, b"")
    assert len(await runs(client)) == 1


async def test_every_event_is_a_place_to_go_on_from(client: Replicate) -> None:
    prediction = await client.predictions.create("acme/greet", {"name": "Ada"}, wait=5)
    async with on_uvicorn(plain(client)) as port:
        whole = (await fetch(port, f"/follow/{prediction.id}")).events
        for place, event in enumerate(whole[:-1]):
            rest = await fetch(port, f"/follow/{prediction.id}", Last_Event_ID=event.id)
            assert rest.events == whole[place + 1 :]
            again = await fetch(port, f"/follow/{prediction.id}?last_event_id={event.id}")
            assert again.events == rest.events
