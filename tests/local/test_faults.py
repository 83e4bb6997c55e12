from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from replicate_async import InvalidArgumentError
from replicate_async.local import Faults
from tests.local.wire import Wire, header

pytestmark = pytest.mark.anyio

MARK = "replicate-local-fault"


async def test_without_faults_no_answer_is_changed(wire: Wire) -> None:
    assert header(await wire.ask("GET", "/account"), MARK) is None


async def test_a_status_can_replace_an_answer(wire: Wire) -> None:
    fault = wire.server.faults.add("account.get", status=503, times=2)

    statuses = [(await wire.ask("GET", "/account")).status for _ in range(3)]

    assert statuses == [503, 503, 200]
    assert fault.happened == 2


async def test_faults_are_named_in_a_header(wire: Wire) -> None:
    wire.server.faults.add("*", status=502, body="<html>", content_type="text/html")

    answer = await wire.ask("GET", "/hardware")

    assert (answer.status, answer.text) == (502, "<html>")
    assert header(answer, "Content-Type") == "text/html"
    assert header(answer, MARK) == "*"


async def test_a_throttled_answer_is_the_services_own(wire: Wire) -> None:
    wire.server.faults.add("account.get", status=429, retry_after=7)

    answer = await wire.ask("GET", "/account")

    assert header(answer, "Retry-After") == "7"
    assert answer.json["retry_after"] == 7


async def test_a_replaced_create_did_not_happen_unless_asked(wire: Wire) -> None:
    version = (await wire.get("/models/acme/echo"))["latest_version"]["id"]
    body = {"version": version, "input": {"text": "a"}}
    wire.server.faults.add("predictions.create", status=500)
    wire.server.faults.add("predictions.create", status=500, perform=True)

    await wire.ask("POST", "/predictions", json=body)
    assert (await wire.get("/predictions"))["results"] == []
    await wire.ask("POST", "/predictions", json=body)

    assert len((await wire.get("/predictions"))["results"]) == 1


@pytest.mark.parametrize("cut", [0, 5, 17, 60, 200])
async def test_an_answer_is_cut_at_the_byte(wire: Wire, cut: int) -> None:
    parts = urlsplit(wire.server.url)
    wire.server.faults.add("account.get", cut_after=cut)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        f"GET /v1/account HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {wire.server.api_token}\r\n\r\n".encode()
    )

    received = await reader.read()

    assert len(received) == cut
    assert b"HTTP/1.1 200 OK\r\n".startswith(received[:17])
    writer.close()
    await writer.wait_closed()


async def test_a_connection_can_be_reset(wire: Wire) -> None:
    wire.server.faults.add("hardware.list", reset=True, times=2)  # aiohttp asks again

    with pytest.raises(aiohttp.ClientError):
        await wire.ask("GET", "/hardware")


async def test_a_body_can_be_slow(wire: Wire) -> None:
    wire.server.faults.add("account.get", pause=0.001)

    assert (await wire.ask("GET", "/account")).json["username"] == "dev"


async def test_a_stream_can_end_without_done(wire: Wire) -> None:
    prediction = await wire.finish("acme/tokens", {"text": "a|b|c"})
    url = prediction["urls"]["stream"]

    wire.server.faults.add("streams", omit_done=True)
    wire.server.faults.add("streams", cut_after_events=2)
    wire.server.faults.add("streams", cut_after=30)
    texts = [await read(wire, url) for _ in range(4)]

    assert texts[0].count("event: output") == 3
    assert "event: done" not in texts[0]
    assert texts[1].count("event: output") == 2
    assert len(texts[2]) == len(": hi\n\n") + 30
    assert "event: done" in texts[3]


async def read(wire: Wire, url: str) -> str:
    """Return the bytes of a stream, however it ends."""
    seen = b""
    async with wire.session.get(url) as response:
        try:
            async for chunk in response.content.iter_any():
                seen += chunk
        except aiohttp.ClientPayloadError:
            pass
    return seen.decode()


async def test_a_stream_can_be_refused(wire: Wire) -> None:
    prediction = await wire.finish("acme/tokens", {"text": "a"})
    wire.server.faults.add("streams", status=503, delay=0.001)

    assert (await wire.ask("GET", prediction["urls"]["stream"])).status == 503


async def test_a_delivery_can_be_cut(wire: Wire) -> None:
    prediction = await wire.finish("acme/draw", {"text": "hello" * 1000})
    wire.server.faults.add("delivery", cut_after=1000)
    wire.server.faults.add("delivery", status=404)

    with pytest.raises(aiohttp.ClientError):
        await wire.ask("GET", prediction["output"][0])
    assert (await wire.ask("GET", prediction["output"][0])).status == 404


async def test_faults_can_be_cleared(wire: Wire) -> None:
    wire.server.faults.add("account.get", status=503)
    wire.server.faults.clear()

    assert (await wire.ask("GET", "/account")).status == 200


async def test_an_unknown_operation_is_refused_and_the_nearest_named(wire: Wire) -> None:
    with pytest.raises(InvalidArgumentError, match=r'is unknown; give .* "predictions\.create"'):
        wire.server.faults.add("predictions.crate", status=503)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": 0}, "times=0 must be an int, 1 or more."),
        (
            {"status": "503"},
            "status='503' must be an int from 200 to 599.",
        ),
        ({"delay": "1"}, "delay='1' must be a number of seconds from 0 to 86,400."),
        ({"reset": "no"}, "reset='no' must be True or False."),
    ],
)
def test_a_fault_that_could_never_happen_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Faults().add("*", **options)

    assert str(caught.value).startswith(message)
