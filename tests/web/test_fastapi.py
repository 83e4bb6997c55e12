"""FastAPI: the documentation of routes, and its own server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from replicate_async import Replicate
from replicate_async.runs.streaming.events import OutputEvent
from replicate_async.web import resume_point
from replicate_async.web.fastapi import to_server_sent_events
from replicate_async.web.starlette import SSEResponse, TextResponse, UIMessageResponse
from tests.web.asgi import on_uvicorn
from tests.web.browser import Browser, assert_canceled, fetch
from tests.web.script import Script

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        (SSEResponse, "text/event-stream"),
        (TextResponse, "text/plain"),
        (UIMessageResponse, "text/event-stream"),
    ],
)
async def test_the_documentation_of_a_route_has_its_media_type(kind: Any, media_type: str) -> None:
    app = FastAPI()

    @app.get("/story", response_class=kind)
    async def story() -> Any:
        return kind(Script(OutputEvent("Hello")), headers={"X-Own": "1"})

    document = app.openapi()
    async with on_uvicorn(app) as port:
        answer = await fetch(port, "/story")
        served = await fetch(port, "/openapi.json")

    answers = document["paths"]["/story"]["get"]["responses"]
    assert list(answers) == ["200"]
    assert list(answers["200"]["content"]) == [media_type]
    assert served.status == 200
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["x-own"] == "1"
    assert b"Hello" in answer.body


def test_a_response_has_the_status_that_it_is_given() -> None:
    assert SSEResponse(Script(), status_code=201).status_code == 201


def own_events(client: Replicate) -> FastAPI:
    app = FastAPI()

    @app.get("/run/{model}", response_class=EventSourceResponse)
    async def run(model: str, request: Request) -> AsyncIterable[ServerSentEvent]:
        async with client.stream(f"acme/{model}", dict(request.query_params)) as stream:
            async for event in to_server_sent_events(stream):
                yield event

    @app.get("/follow/{name}", response_class=EventSourceResponse)
    async def follow(name: str, request: Request) -> AsyncIterable[ServerSentEvent]:
        point = resume_point(request.headers, prediction_id=name)
        last = point.last_event_id if point else None
        async with client.predictions.stream(name, last_event_id=last) as stream:
            async for event in to_server_sent_events(stream, resume=point):
                yield event

    return app


async def test_fastapis_own_events_are_those_of_an_sse_response(client: Replicate) -> None:
    prediction = await client.predictions.create("acme/greet", {"name": "Ada"}, wait=5)
    theirs, ours = own_events(client), FastAPI()

    @ours.get("/follow/{name}")
    async def follow(name: str) -> SSEResponse:
        return SSEResponse(client.predictions.stream(name))

    async with on_uvicorn(theirs) as port, on_uvicorn(ours) as other:
        got = await fetch(port, f"/follow/{prediction.id}")
        expected = await fetch(other, f"/follow/{prediction.id}")
        rest = await fetch(port, f"/follow/{prediction.id}", Last_Event_ID=got.events[0].id)

    assert got.headers["content-type"].startswith("text/event-stream")
    assert got.events == expected.events
    assert rest.events == expected.events[1:]


async def test_a_browser_that_leaves_fastapis_own_events_cancels(client: Replicate) -> None:
    async with on_uvicorn(own_events(client)) as port, Browser(port) as browser:
        await browser.ask("/run/silent")
        await browser.until(b"event: output")
        await browser.leave()

        await assert_canceled(client)


@pytest.mark.virtual_clock
async def test_a_browser_that_does_not_read_is_given_up() -> None:
    stream = Script(OutputEvent("Hello"), OutputEvent(" you"))
    response = SSEResponse(stream, send_timeout=5)
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if b"Hello" in message.get("body", b""):
            await asyncio.Event().wait()

    scope: dict[str, Any] = {"type": "http", "method": "GET", "headers": []}
    started = asyncio.get_running_loop().time()
    await response(scope, receive, send)

    assert asyncio.get_running_loop().time() - started == pytest.approx(5)
    assert stream.closed
