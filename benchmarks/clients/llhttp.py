"""A client that could be one: llhttp's parser (httptools) on an `asyncio.Protocol`, and msgspec.

Unlike the limit it takes every framing that HTTP/1.1 has, limits the body, ends what keeps silent,
fails what breaks and keeps no connection that the server will not. It shows how much of the way to
the limit such a transport would come. It still lacks what aiohttp has besides: proxies, content
codings, addresses tried side by side, and ten years of other people's servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from benchmarks.clients.limit import Limit
from benchmarks.contestants import Client

_LARGEST = 64 * 1024 * 1024
_SILENCE = 30.0
_Parser: Any = import_module("httptools").HttpResponseParser


class Answer(NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    reusable: bool


class Connection(asyncio.Protocol):
    """A connection, with at most one request under way; the parser calls it back."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport
        self._waiter: asyncio.Future[Answer] | None = None
        self._parser = _Parser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self.silent_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request; the future has its answer."""
        self._waiter = waiter = self._loop.create_future()
        self.silent_since = self._loop.time()
        self._transport.write(request)
        return waiter

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self.silent_since = self._loop.time()
        if self._waiter is None:
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - whatever the parser finds is the server's doing
            self.fail(error)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._size += len(body)
        if self._size > _LARGEST:
            raise ValueError("the answer is too large")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        waiter, self._waiter = self._waiter, None
        reusable = self._parser.should_keep_alive()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        answer = Answer(self._parser.get_status_code(), self._headers, body, reusable)
        self._headers, self._body, self._size = {}, [], 0
        self.silent_since = None
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)
        if not reusable:
            self._transport.close()

    def fail(self, error: Exception) -> None:
        """End the request under way with *error*."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was under way."""
        del exc
        self.fail(ConnectionResetError("the connection broke"))


class Llhttp(Limit):
    """As many connections as there are requests under way, watched by one timer."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()

    async def _ask(self, method: str, path: str, body: bytes = b"", more: str = "") -> bytes:
        head = f"{method} {self._path}{path}{self._tail}Accept-Encoding: identity\r\n{more}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            answer = await connection.ask(f"{head}\r\n".encode() + body)
        except BaseException:
            self._drop(connection)
            raise
        if answer.reusable:
            self._idle.append(connection)
        else:
            self._drop(connection)
        assert answer.status < 300
        return answer.body

    def _drop(self, connection: Connection) -> None:
        connection.fail(ConnectionAbortedError())
        self._all.discard(connection)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self._host, self._port)
        if not self._all:
            loop.call_later(_SILENCE / 4, self._look)
        self._all.add(connection)
        return connection

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in self._all:
            if connection.silent_since and loop.time() - connection.silent_since > _SILENCE:
                connection.fail(TimeoutError())
        loop.call_later(_SILENCE / 4, self._look)


def connect(url: str) -> Client:
    """Return the client, ready for *url*."""
    return Llhttp(url)
