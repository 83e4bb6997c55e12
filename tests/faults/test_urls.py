"""Every URL that the service may hand out, against a client whose connections are watched.

The client is pointed at https://api.replicate.com, or at the base URL that a vector names, through
a session whose resolver leads each name to a loopback port: the API's own name to the server, all
others to a stranger. Its socket factory sees every connection, so that addresses which need no
resolving cannot slip by.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from replicate_async import Poll, RedirectError, Replicate, UntrustedURLError
from tests.faults.calls import AT_ONCE
from tests.support.fault_server import FaultServer, Handler, Stranger, script
from tests.support.replies import json_answer, page, prediction
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


class Vector(msgspec.Struct, frozen=True):
    """One URL, the way by which it reaches the client, and what may be done with it."""

    url: str
    route: str
    may_request: bool
    may_send_token: bool
    why: str
    base_url: str = "https://api.replicate.com"

    @property
    def redirect(self) -> int | None:
        """The status of the redirect that names the URL, for the routes that are redirects."""
        words = self.route.split()
        return (int(words[1]) if words[1].isdigit() else 302) if words[0] == "redirect" else None

    def __str__(self) -> str:
        return f"{self.route}, {self.url or 'empty'}, at {urlsplit(self.base_url).netloc}"


class Vectors(msgspec.Struct, frozen=True):
    vectors: list[Vector]


VECTORS: Final = msgspec.json.decode(
    (Path(__file__).parents[1] / "data" / "urls.json").read_bytes(), type=Vectors
).vectors
# Streams and output files may be on other hosts, and are fetched by other means than API calls.
API_VECTORS: Final = [v for v in VECTORS if v.route not in {"urls.stream", "output file"}]


@dataclass
class Resolver(AbstractResolver):
    """Leads the API's name to *own* and every other name to *other*."""

    name: str
    own: int
    other: int

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del port
        found = self.own if host == self.name else self.other
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=found, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


@dataclass
class World:
    """A client, its API, and all other hosts."""

    client: Replicate
    api: FaultServer
    stranger: Stranger
    ports: list[int]

    def assert_only_the_api_was_asked(self) -> None:
        self.stranger.assert_untouched()
        assert set(self.ports) <= {self.api.port}


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make certificates for every name, and a context that trusts them."""
    authority = trustme.CA()
    issued = authority.issue_cert(
        "api.replicate.com", "proxy.example", "*.example", "*.replicate.com", "127.0.0.1"
    )
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(serving)  # pyright: ignore[reportUnknownMemberType] - takes OpenSSL's, too
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)  # pyright: ignore[reportUnknownMemberType] - as above
    return serving, trusting


SERVING, TRUSTING = contexts()


@asynccontextmanager
async def world(vector: Vector) -> AsyncGenerator[World, None]:
    """Make the world of *vector*, in which the API hands out its URL by its route."""
    ports: list[int] = []

    def watched(address: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, proto, _, where = address
        ports.append(where[1])
        return socket.socket(family, kind, proto)

    base = urlsplit(vector.base_url)
    secure = SERVING if base.scheme == "https" else None
    async with FaultServer(script(Answer()), tls=secure) as api, Stranger(tls=SERVING) as stranger:
        if secure is None:  # an address, which is not resolved
            vector = msgspec.json.decode(
                msgspec.json.encode(vector).replace(base.netloc.encode(), api.origin[7:].encode()),
                type=Vector,
            )
        api.handler = handing_out(vector)
        resolver = Resolver(base.hostname or "", api.port, stranger.port)
        connector = aiohttp.TCPConnector(resolver=resolver, ssl=TRUSTING, socket_factory=watched)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            Replicate(TOKEN, base_url=vector.base_url, session=session, retry=AT_ONCE) as client,
        ):
            yield World(client, api, stranger, ports)


def handing_out(vector: Vector) -> Handler:
    """Answer the first request with the URL of *vector*, and all others well."""
    rest = 1

    def handler(_request: Request) -> Answer:
        nonlocal rest
        first, rest = rest, 0
        found = prediction(f"{vector.base_url}/v1", status="starting" if first else "succeeded")
        if vector.redirect is not None and first:
            location = vector.url.encode().decode("latin-1")
            head = f"HTTP/1.1 {vector.redirect} Elsewhere\r\nLocation: {location}\r\n"
            return Answer(raw=f"{head}Content-Length: 0\r\n\r\n".encode("latin-1"))
        if vector.route == "page.next":
            return json_answer(page(found, next=vector.url if first else None))
        if first:
            name = vector.route.removeprefix("urls.")
            found["urls"] = cast("dict[str, str]", found["urls"]) | {name: vector.url}
        return json_answer(found)

    return handler


async def follow(client: Replicate, route: str) -> None:
    """Make the client meet a URL by *route*."""
    if route == "page.next":
        assert [found.id async for found in client.predictions.list()]
        return
    found = await client.predictions.get("abc")
    if route == "urls.get":
        await client.predictions.get(found)
    elif route == "urls.cancel":
        await client.predictions.cancel(found)


@pytest.mark.parametrize("vector", API_VECTORS, ids=str)
async def test_a_url_from_the_service_leads_the_token_home_or_nowhere(vector: Vector) -> None:
    async with world(vector) as around:
        if vector.may_request:
            await follow(around.client, vector.route)
        else:
            refusal = RedirectError if vector.redirect else UntrustedURLError
            with caught(refusal):
                await follow(around.client, vector.route)
        around.assert_only_the_api_was_asked()

        assert len(around.api.requests) == (2 if vector.may_request else 1)
        for request in around.api.requests:
            assert request.header("authorization") == f"Bearer {TOKEN}"


@pytest.mark.parametrize("vector", [v for v in API_VECTORS if v.route.startswith("urls.")], ids=str)
async def test_waiting_keeps_to_the_api_as_well(vector: Vector) -> None:
    async with world(vector) as around:
        found = await around.client.predictions.get("abc")
        if vector.may_request:
            await around.client.predictions.wait(found, poll=Poll(first=0.001))
        else:
            with caught(UntrustedURLError):
                await around.client.predictions.wait(found)
        around.assert_only_the_api_was_asked()
