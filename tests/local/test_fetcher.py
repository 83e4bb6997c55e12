from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from replicate_async.local import LocalReplicate, Settings, serve
from replicate_async.local.runtime.outbound_hosts import OutboundHosts, OutboundResolver
from tests.local.wire import Wire
from tests.support.sentinel import TOKEN

pytestmark = pytest.mark.anyio


async def hello(request: web.Request) -> web.Response:
    assert "Authorization" not in request.headers
    return web.Response(text="hello")


async def elsewhere(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/hello")


async def large(_request: web.Request) -> web.Response:
    return web.Response(body=b"x" * 2000)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = web.Application()
    app.add_routes([web.get("/hello", hello), web.get("/moved", elsewhere)])
    app.add_routes([web.get("/large", large)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
def settings() -> Settings:
    return Settings(max_file=1000)


async def test_a_file_input_is_fetched_from_an_allowed_host(wire: Wire, port: int) -> None:
    for host in ("127.0.0.1", "localhost"):
        prediction = await wire.finish("acme/read", {"file": f"http://{host}:{port}/hello"})
        assert prediction["output"] == "hello", prediction["error"]


@pytest.mark.parametrize(
    ("path", "error"),
    [("moved", "answered 302"), ("none", "answered 404"), ("large", "too large")],
)
async def test_other_answers_fail_the_prediction(
    wire: Wire, port: int, path: str, error: str
) -> None:
    prediction = await wire.finish("acme/read", {"file": f"http://127.0.0.1:{port}/{path}"})

    assert prediction["status"] == "failed"
    assert error in prediction["error"]


async def test_a_host_that_does_not_answer_fails_the_prediction(wire: Wire) -> None:
    prediction = await wire.finish("acme/read", {"file": "http://127.0.0.1:1/x"})

    assert prediction["status"] == "failed"
    assert "ClientConnectorError" in prediction["error"]


async def test_a_public_name_of_a_loopback_address_is_not_resolved() -> None:
    resolver = OutboundResolver(OutboundHosts(["*"]))

    with pytest.raises(OSError, match="no address that this server may reach"):
        await resolver.resolve("localhost", 80)
    await resolver.close()


async def test_serve_calls_ready_and_ends_when_cancelled() -> None:
    ready: asyncio.Future[LocalReplicate] = asyncio.get_running_loop().create_future()

    async def echo(text: str) -> str:
        return text

    serving = asyncio.create_task(
        serve(api_token=TOKEN, models={"acme/echo": echo}, builtins=False, ready=ready.set_result)
    )
    async with Wire(await ready) as wire:
        assert (await wire.finish("acme/echo", {"text": "a"}))["output"] == "a"
        assert len((await wire.get("/models"))["results"]) == 1

    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
