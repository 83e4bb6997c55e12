"""A client that does not finish the head of its request does not keep the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from replicate_async import Replicate, Retry
from replicate_async.local import LocalReplicate, Settings

pytestmark = pytest.mark.anyio

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
