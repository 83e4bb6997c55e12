"""A browser as a socket sees it: it asks, reads or does not, and goes away."""

from __future__ import annotations

import asyncio
import socket
from typing import NamedTuple, Self

import anyio

from replicate_async import Prediction, Replicate
from replicate_async.core.sse import Event, Parser
from tests.support.waiting import HANG


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def events(self) -> list[Event]:
        return Parser().feed(self.body)


class Browser:
    """One connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        connection = socket.create_connection(("127.0.0.1", self._port))
        # A small window, so that a server soon notices that no browser reads.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._reader, self._writer = await asyncio.open_connection(sock=connection, limit=4096)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> None:
        fields = {"Host": f"127.0.0.1:{self._port}", "Content-Type": "application/json"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
        lines += [f"Content-Length: {len(body)}", "", body]
        self._writer.write("\r\n".join(lines).encode())
        await self._writer.drain()

    async def until(self, words: bytes) -> bytes:
        """Read until *words* have come."""
        with anyio.fail_after(HANG):
            seen = b""
            while words not in seen:
                more = await self._reader.read(1024)
                assert more, seen
                seen += more
            return seen

    async def rest(self) -> bytes:
        with anyio.fail_after(HANG):
            return await self._reader.read(-1)

    async def leave(self) -> None:
        self._writer.transport.abort()
        await asyncio.sleep(0)


async def fetch(
    port: int, path: str, method: str = "GET", body: str = "", **headers: str
) -> Answer:
    """Send a request and return the whole answer."""
    async with Browser(port) as browser:
        await browser.ask(path, method, body, Connection="close", **headers)
        head, _, rest = (await browser.rest()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    if fields.get("transfer-encoding") == "chunked" and method != "HEAD":
        rest = _unchunked(rest)
    return Answer(int(first.split()[1]), fields, rest)


def _unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body += data[:length]
        data = data[length + 2 :]
        if length == 0:
            return body
    raise AssertionError("the body broke off")


async def runs(client: Replicate) -> list[Prediction]:
    return [prediction async for prediction in client.predictions.list()]


async def assert_canceled(client: Replicate) -> None:
    """Wait until the one prediction there is has been cancelled."""
    with anyio.fail_after(HANG):
        while True:
            (prediction,) = await runs(client)
            if prediction.done:
                assert prediction.status == "canceled"
                return
            await asyncio.sleep(0.02)
