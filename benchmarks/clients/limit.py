"""HTTP/1.1 by hand on an `asyncio.Protocol`, and msgspec: about the least that Python can do.

It trusts the server: every answer has a Content-Length and no other coding, connections stay open,
and nothing is ever wrong. It is no client, but what remains when everything else is left out.
"""

from __future__ import annotations

import asyncio
from typing import cast
from urllib.parse import urlsplit

import msgspec

from benchmarks.clients.shapes import BODY, MANY, ONE
from benchmarks.contestants import Client


class Connection(asyncio.Protocol):
    """A connection, with at most one request under way."""

    __slots__ = ("_data", "_loop", "_transport", "_waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport
        self._waiter: asyncio.Future[bytes]
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        # uvloop's are no subclasses.
        self._transport = cast("asyncio.WriteTransport", transport)

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future has the answer's body."""
        self._waiter = waiter = self._loop.create_future()
        self._transport.write(request)
        return waiter

    def data_received(self, data: bytes) -> None:
        """Hand over the body once all of it is there."""
        if self._data:
            data = self._data + data
        head = data.find(b"\r\n\r\n")
        if head >= 0:
            place = data.find(b"Content-Length: ", 0, head) + 16
            length = int(data[place : data.find(b"\r", place)])
            if len(data) - head - 4 >= length:
                self._data = b""
                assert data[9:10] == b"2"
                self._waiter.set_result(data[head + 4 :])
                return
        self._data = data

    def connection_lost(self, _: Exception | None) -> None:
        """Nothing: the server does not close."""


class Limit:
    """As many connections as there are requests under way."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._where = parts.hostname, parts.port
        self._path = parts.path
        self._free: list[Connection] = []
        self._tail = (
            f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
            "Authorization: Bearer r8_benchmark\r\n"
        )

    async def _ask(self, method: str, path: str, body: bytes = b"", more: str = "") -> bytes:
        head = f"{method} {self._path}{path}{self._tail}{more}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        if self._free:
            connection = self._free.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, *self._where)
        answer = await connection.ask(f"{head}\r\n".encode() + body)
        self._free.append(connection)
        return answer

    async def get(self, id: str) -> None:
        """Ask for a prediction."""
        prediction = ONE.decode(await self._ask("GET", f"/predictions/{id}"))
        assert prediction.id == id

    async def cycle(self) -> None:
        """Create a prediction and ask until it is over."""
        body = msgspec.json.encode(BODY)
        prediction = ONE.decode(await self._ask("POST", "/predictions", body))
        while prediction.status != "succeeded":
            await asyncio.sleep(1e-6)
            prediction = ONE.decode(await self._ask("GET", f"/predictions/{prediction.id}"))

    async def held(self) -> None:
        """Create a prediction that is over when it is answered."""
        body = msgspec.json.encode(BODY)
        answer = await self._ask("POST", "/predictions", body, "Prefer: wait\r\n")
        assert ONE.decode(answer).output

    async def page(self) -> None:
        """List a page."""
        page = MANY.decode(await self._ask("GET", "/predictions"))
        assert len(page.results) == 100


def connect(url: str) -> Client:
    """Return the client, ready for *url*."""
    return Limit(url)
