"""A client that does not finish the head of its request does not keep the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from replicate_async import Replicate, Retry
from replicate_async.local import LocalReplicate, Settings
from tests.support.waiting import HANG

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock]

HEAD = b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def impatient() -> AsyncIterator[LocalReplicate]:
    async with LocalReplicate(settings=Settings(head_timeout=0.05)) as server:
        yield server


async def connect(
    server: LocalReplicate,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = server.origin.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", b"G", HEAD])
async def test_an_unfinished_head_is_closed(sent: bytes, impatient: LocalReplicate) -> None:
    reader, writer = await connect(impatient)
    writer.write(sent)

    assert await ended(reader)
    writer.close()


async def test_an_unfinished_second_head_is_closed(impatient: LocalReplicate) -> None:
    reader, writer = await connect(impatient)
    writer.write(HEAD + b"\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    writer.write(HEAD)

    assert await ended(reader)
    writer.close()


POST = b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "complete",
    [
        HEAD + b"\r\n",
        2 * (HEAD + b"\r\n"),
        POST + b"Content-Length: 2\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"\r\n" + POST + b"Content-Length: 2\r\n\r\n{}" + HEAD + b"\r\n",
    ],
    ids=["get", "two", "post", "chunked", "mixed"],
)
@pytest.mark.parametrize("sent", [b"G", HEAD])
async def test_an_unfinished_head_behind_complete_requests_is_closed(
    sent: bytes, complete: bytes, impatient: LocalReplicate
) -> None:
    reader, writer = await connect(impatient)
    writer.write(complete + sent)

    async with asyncio.timeout(HANG):
        answers = await reader.read()
    assert answers.count(b"HTTP/1.1 ") == complete.count(b"HTTP/1.1\r\n")
    writer.close()


async def test_an_unfinished_head_that_comes_while_a_request_runs_is_closed() -> None:
    begun, going_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await going_on.wait()
        return "done"

    settings = Settings(head_timeout=0.05)
    async with LocalReplicate(settings=settings) as server:
        server.add_model("acme/slow", slow, official=True)
        reader, writer = await connect(server)
        writer.write(
            b"POST /v1/models/acme/slow/predictions HTTP/1.1\r\nHost: localhost\r\n"
            b"Prefer: wait\r\nContent-Type: application/json\r\n"
            + f"Authorization: Bearer {server.api_token}\r\n".encode()
            + b'Content-Length: 13\r\n\r\n{"input": {}}'
        )
        await begun.wait()
        writer.write(HEAD)
        await writer.drain()
        going_on.set()

        async with asyncio.timeout(HANG):
            assert (await reader.read()).startswith(b"HTTP/1.1 201")
        writer.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"\r\n",
        POST + b"Content-Length: 2\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["get", "post", "chunked"],
)
async def test_a_connection_is_idle_for_longer_than_a_head_may_take(request_: bytes) -> None:
    seconds = 1.0
    async with LocalReplicate(settings=Settings(head_timeout=seconds)) as server:
        reader, writer = await connect(server)
        for _ in range(2):
            for part in (request_[:-3], request_[-3:]):
                writer.write(part)
                await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(1.2 * seconds)
        assert not reader.at_eof()
        writer.close()


@pytest.mark.slow
async def test_a_request_may_take_longer_than_its_head_and_a_connection_be_idle() -> None:
    seconds = 1.0

    async def slow() -> str:
        await asyncio.sleep(1.2 * seconds)
        return "done"

    settings = Settings(head_timeout=seconds)
    async with (
        LocalReplicate(models={"acme/slow": slow}, settings=settings) as server,
        Replicate(server.api_token, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        assert await client.run("acme/slow", wait=True) == "done"
        await asyncio.sleep(1.2 * seconds)
        assert await client.run("acme/slow", wait=True) == "done"


def test_a_head_has_ten_seconds() -> None:
    assert Settings().head_timeout == 10.0
