from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import aiohttp
import pytest
import trustme

from replicate_async import APIConnectionError, Replicate, TLSError
from tests.faults.calls import AT_ONCE
from tests.support.fault_server import FaultServer, reset
from tests.support.replies import VERSION_ID, service
from tests.support.sentinel import TOKEN, caught

pytestmark = pytest.mark.anyio

AUTHORITY: Final = trustme.CA()
STRANGER: Final = trustme.CA()


def serving(issued: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - takes OpenSSL's, too
    return context


@asynccontextmanager
async def client_that_trusts(port: int) -> AsyncGenerator[Replicate, None]:
    """Make a client that trusts one authority."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)  # pyright: ignore[reportUnknownMemberType] - as above
    connector = aiohttp.TCPConnector(ssl=context)
    url = f"https://127.0.0.1:{port}"
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        Replicate(TOKEN, base_url=url, session=session, retry=AT_ONCE) as client,
    ):
        yield client


PAST: Final = datetime(2020, 1, 1, tzinfo=UTC)

UNFIT: Final = {
    "another name": AUTHORITY.issue_cert("api.replicate.com"),
    "expired": AUTHORITY.issue_cert("127.0.0.1", not_after=PAST),
    "another authority": STRANGER.issue_cert("127.0.0.1"),
}
REASONS: Final = {
    "another name": "IP address mismatch",
    "expired": "certificate has expired",
    "another authority": "unable to get local issuer certificate",
}


@pytest.mark.parametrize("name", UNFIT)
async def test_a_certificate_that_is_not_fit_ends_the_call_before_anything_is_sent(
    name: str,
) -> None:
    unfit = serving(UNFIT[name])
    async with (
        FaultServer(lambda request: service("", request), tls=unfit) as server,
        client_that_trusts(server.port) as client,
    ):
        with caught(TLSError) as found:
            await client.predictions.create(VERSION_ID, {})

    assert found.error.phase == "not_sent"
    assert server.requests == []
    assert server.received == b""
    assert len(server.connections) <= 1  # another try would meet the same certificate
    said = str(found.error)
    assert REASONS[name] in said
    assert ("check base_url" in said) == (name == "another name")
    assert ("howto/proxy" in said) == (name != "another name")


async def test_a_certificate_that_is_fit_lets_the_call_through() -> None:
    fit = serving(AUTHORITY.issue_cert("127.0.0.1"))
    async with (
        FaultServer(lambda request: service("", request), tls=fit) as server,
        client_that_trusts(server.port) as client,
    ):
        assert (await client.account.get()).username == "acme"


@pytest.mark.parametrize("how", ["closed", "reset", "plain HTTP", "an alert"])
async def test_a_handshake_that_breaks_is_typed_and_was_not_sent(how: str) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if how == "reset":
            reset(writer)
        elif how == "plain HTTP":
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        elif how == "an alert":
            writer.write(b"\x15\x03\x01\x00\x02\x02\x28")
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    async with server, client_that_trusts(server.sockets[0].getsockname()[1]) as client:
        with caught(APIConnectionError) as found:
            await client.predictions.create(VERSION_ID, {})

    assert found.error.phase == "not_sent"
