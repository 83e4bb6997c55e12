"""The spans of one chat request, from the browser's POST to the last token."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from replicate_async import Replicate
from replicate_async.local import AsyncConcatenateIterator, LocalReplicate
from replicate_async.web.starlette import UIMessageResponse
from tests.support.sentinel import assert_silent
from tests.web.asgi import on_uvicorn
from tests.web.browser import fetch

pytest.importorskip("opentelemetry.sdk", reason="the integrations session installs it")

from opentelemetry import propagate
from opentelemetry.trace import SpanKind

from tests.integrations.telemetry import Telemetry, attributes

pytestmark = pytest.mark.anyio

BROWSER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def client(server: LocalReplicate, telemetry: Telemetry) -> AsyncIterator[Replicate]:
    @server.model("acme/chat", official=True)
    async def chat(prompt: str) -> AsyncConcatenateIterator[str]:
        for part in ("You said: ", prompt, "."):
            yield part

    async with Replicate(server.api_token, base_url=server.url, hooks=telemetry.hooks) as connected:
        yield connected


def server_spans(app: ASGIApp, telemetry: Telemetry) -> ASGIApp:
    """Give each request a span, as opentelemetry-instrumentation-asgi does."""

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        fields = {name.decode(): value.decode() for name, value in scope["headers"]}
        with telemetry.tracer.start_as_current_span(
            f"{scope['method']} {scope['path']}",
            context=propagate.extract(fields),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "url.path": scope["path"]},
        ):
            await app(scope, receive, send)

    return traced


async def test_one_trace_goes_from_the_browser_to_the_last_token(
    client: Replicate, telemetry: Telemetry
) -> None:
    async def chat(request: Request) -> Response:
        prompt = (await request.json())["prompt"]
        return UIMessageResponse(client.stream("acme/chat", {"prompt": prompt}))

    app = server_spans(Starlette(routes=[Route("/chat", chat, methods=["POST"])]), telemetry)
    async with on_uvicorn(app) as port:
        answer = await fetch(port, "/chat", "POST", '{"prompt": "A secret"}', traceparent=BROWSER)

    assert b"A secret" in answer.body
    print(telemetry.printout())
    assert [f"{'  ' * depth}{span.name}" for depth, span in telemetry.tree()] == [
        "POST /chat",
        "  generate_content acme/chat",
        "    POST /models/{model_owner}/{model_name}/predictions",
        "    GET stream",
    ]
    trace_ids = {span.context.trace_id for span in telemetry.spans if span.context}
    assert trace_ids == {int(BROWSER[3:35], 16)}
    (stream,) = telemetry.named("generate_content")
    assert attributes(stream)["gen_ai.response.time_to_first_chunk"] > 0
    assert_silent(telemetry.everything(), "the trace of a chat")
    assert "A secret" not in telemetry.everything()
