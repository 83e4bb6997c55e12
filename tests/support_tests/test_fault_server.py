from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.fault_server import FaultServer, Stranger, reset, script
from tests.support.replies import json_answer, prediction, service
from tests.support.waiting import HANG
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio

GET = b"GET /v1/predictions/abc HTTP/1.1\r\nHost: x\r\n\r\n"
CREATE = b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{}{}"


async def talk(server: FaultServer, *messages: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for message in messages:
            writer.write(message)
            await asyncio.sleep(0.005)
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("point", range(6))
async def test_an_answer_is_cut_at_the_byte_asked_for(point: int) -> None:
    whole = json_answer(prediction("http://x/v1"), 201)
    cut = list(whole.cut_points().values())[point]

    broken = json_answer(prediction("http://x/v1"), 201)
    async with FaultServer(
        script(Answer(raw=broken.wire(), cut=cut, ending=Ending.CLOSE))
    ) as server:
        seen = await talk(server, CREATE)

    assert seen == whole.wire()[:cut]
    assert server.creations == 1


async def test_the_cut_points_lie_in_the_parts_that_they_name() -> None:
    whole = json_answer(prediction("http://x/v1"))
    points = list(whole.cut_points().values())

    assert points == sorted(set(points))
    assert points[0] == 0
    assert points[3] == len(whole.head())
    assert points[5] == len(whole.wire()) - 1


async def test_a_reset_is_seen_as_a_reset_after_the_bytes_sent() -> None:
    async with FaultServer(script(Answer(raw=b"HTTP/1.1", ending=Ending.RESET))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        assert await reader.readexactly(8) == b"HTTP/1.1"
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_connection_that_is_closed_already_can_be_reset() -> None:
    async with FaultServer(script(Answer())) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.transport.abort()
        await writer.wait_closed()

        reset(writer)


async def test_a_hang_lasts_until_the_client_leaves() -> None:
    async with FaultServer(script(Answer(ending=Ending.HANG, cut=0))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await reader.read(1)
        assert server.open_connections == 1
        writer.close()
        await server.until_idle()
        assert server.open_connections == 0


async def test_requests_are_remembered_byte_for_byte() -> None:
    chunks = b"POST /v1/files HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with FaultServer(script(Answer(), Answer(ending=Ending.CLOSE))) as server:
        await talk(server, CREATE, chunks)

    assert [request.raw for request in server.requests] == [CREATE, chunks]
    assert [request.body for request in server.requests] == [b"{}{}", b"abc"]
    assert server.received == CREATE + chunks
    assert server.creations == 2
    assert server.connections[0].requests == 2


async def test_half_a_request_is_received_but_not_acted_on() -> None:
    async with FaultServer(script(Answer())) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(CREATE[:-1])
        await asyncio.sleep(0.01)
        writer.close()
        del reader
        await server.until_idle()
        assert server.open_connections == 0

    assert server.received == CREATE[:-1]
    assert server.creations == 0


async def test_a_refusal_and_a_read_create_nothing() -> None:
    refused = Answer(status=429, acts=False)
    async with FaultServer(script(refused, Answer(ending=Ending.CLOSE))) as server:
        await talk(server, CREATE, GET)

    assert len(server.requests) == 2
    assert server.creations == 0


async def test_an_early_answer_is_sent_before_the_body_came() -> None:
    def early(_request: Request) -> Answer:
        return Answer(status=413, framing="close", acts=False)

    async with FaultServer(script(Answer()), early=early) as server:
        seen = await talk(server, CREATE[:-2])

    assert seen.startswith(b"HTTP/1.1 413 ")
    assert server.requests == []


async def test_a_broken_handler_fails_the_test() -> None:
    def broken(_request: Request) -> Answer:
        raise LookupError("nothing to say")

    with pytest.raises(ExceptionGroup):
        async with FaultServer(broken) as server:
            await talk(server, GET)


async def test_a_stranger_notices_a_connection_and_a_secret() -> None:
    async with Stranger(Answer(ending=Ending.CLOSE)) as stranger:
        stranger.assert_untouched()

        await talk(stranger, b"GET / HTTP/1.1\r\nAuthorization: Bearer hush\r\n\r\n")

        with pytest.raises(AssertionError, match="connected"):
            stranger.assert_untouched()
        with pytest.raises(AssertionError, match="secret"):
            stranger.assert_never_saw(["hush"])
        stranger.assert_never_saw(["other"])


@pytest.mark.parametrize(
    ("line", "creates"),
    [
        ("POST /v1/predictions", True),
        ("POST /v1/models/a/b/predictions", True),
        ("POST /v1/deployments/a/b/predictions", True),
        ("POST /v1/models/a/b/versions/c/trainings", True),
        ("POST /v1/models", True),
        ("POST /v1/deployments", True),
        ("POST /v1/files", True),
        ("POST /v1/predictions/abc/cancel", False),
        ("GET /v1/predictions", False),
        ("QUERY /v1/models", False),
    ],
)
async def test_what_counts_as_a_creation(line: str, creates: bool) -> None:
    message = f"{line} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode()

    async with FaultServer(script(Answer(ending=Ending.CLOSE))) as server:
        await talk(server, message)

    assert server.creations == int(creates)


async def test_the_good_service_answers_a_prediction() -> None:
    def good(request: Request) -> Answer:
        answer = service("http://x/v1", request)
        return Answer(status=answer.status, body=answer.body, framing="close")

    async with FaultServer(good) as server:
        seen = await talk(server, CREATE)

    assert seen.startswith(b"HTTP/1.1 201 Created\r\n")
    assert b'"status": "starting"' in seen


@pytest.mark.parametrize("steps", range(4))
async def test_it_stops_at_any_step_of_accepting_a_connection(steps: int) -> None:
    async with asyncio.timeout(HANG), FaultServer(lambda _: Answer(ending=Ending.HANG)) as server:
        with socket.create_connection(("127.0.0.1", server.port)):
            while not server.connections:  # noqa: ASYNC110 - the step counts
                await asyncio.sleep(0)
            for _ in range(steps):
                await asyncio.sleep(0)
            await server.stop()
