"""A server written on raw sockets, so that answers can break at any byte; it keeps the true record.

It parses just enough of a request to know where it ends, remembers every byte that it received and
what it acted on, and sends what the test's answer says: broken framing, half a status line, a
reset in the middle of the body.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, SupportsIndex

from tests.support.waiting import HANG
from tests.support.wire import LIMIT, Answer, Ending, Request, read_body, read_head

Handler = Callable[[Request], Answer]

CREATES: Final = re.compile(
    r"POST /v1/(predictions|models|deployments|files"
    r"|(models|deployments)/[^/]+/[^/]+/predictions"
    r"|models/[^/]+/[^/]+/versions/[^/]+/trainings)"
)


@dataclass
class Connection:
    """One accepted connection, with everything that came over it."""

    index: int
    received: bytearray = field(default_factory=bytearray, repr=False)
    requests: int = 0
    open: bool = True


class RecordingReader(asyncio.StreamReader):
    """A stream reader that keeps a copy of every byte fed to it."""

    def __init__(self, record: bytearray) -> None:
        super().__init__(limit=LIMIT)
        self._record = record

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self._record.extend(data)
        super().feed_data(data)


class FaultServer:
    """A loopback HTTP/1.1 server that sends the answers of *handler*, byte for byte.

    *early*, when given, is asked with the head alone, before the body is read: an answer from it
    is sent at once and the connection ended as it says. *tls* makes it speak https.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        early: Callable[[Request], Answer | None] | None = None,
        tls: ssl.SSLContext | None = None,
    ):
        self.handler = handler
        self.connections: list[Connection] = []
        self.requests: list[Request] = []
        self.acted: list[Request] = []
        self.errors: list[Exception] = []
        self.port = 0
        self._early = early
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], int] = {}
        self._stopped = False

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def creations(self) -> int:
        """How many paid-for or lasting things were made here."""
        return sum(1 for request in self.acted if is_create(request))

    @property
    def open_connections(self) -> int:
        return sum(1 for connection in self.connections if connection.open)

    @property
    def received(self) -> bytes:
        return b"".join(bytes(connection.received) for connection in self.connections)

    async def until_idle(self) -> None:
        """Wait until every connection is over."""
        async with asyncio.timeout(HANG):
            while self._serving:
                await asyncio.wait(self._serving)

    async def until_closed(self, indexes: Container[int]) -> None:
        """Wait until the connections with *indexes* are over."""
        waiting = [task for task, index in self._serving.items() if index in indexes]
        async with asyncio.timeout(HANG):
            await asyncio.gather(*waiting, return_exceptions=True)

    def forget(self) -> None:
        """Start a new record; open connections stay in it."""
        self.connections = [connection for connection in self.connections if connection.open]
        self.requests.clear()
        self.acted.clear()

    async def __aenter__(self) -> Self:
        self._stopped = False
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        if exc is None and self.errors:
            raise ExceptionGroup("the fault server itself failed", self.errors)

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        assert self._server is not None
        self._server.close()
        self._stopped = True
        for _ in range(3):  # a connection that is being accepted gets its task
            await asyncio.sleep(0)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # closed transports let go of their sockets

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        connection = Connection(len(self.connections))
        self.connections.append(connection)

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(connection, reader, writer))
            self._serving[task] = connection.index
            task.add_done_callback(self._serving.pop)
            # A task that is cancelled before its first step closes nothing, and from Python 3.12 on
            # `wait_closed` waits for every connection.
            task.add_done_callback(lambda _: writer.close())
            if self._stopped:
                task.cancel()

        return asyncio.StreamReaderProtocol(RecordingReader(connection.received), serve)

    async def _serve(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        try:
            while await self._exchange(connection, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client went away, which is its right
        except Exception as error:  # noqa: BLE001 - a bug of the handler must fail the test, not the client
            self.errors.append(error)
        finally:
            connection.open = False
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                await writer.wait_closed()

    async def _exchange(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = await read_head(reader)
        if not head:
            return False
        answer = self._early and self._early(Request(connection.index, head, b"", b""))
        if answer is None:
            raw_body, body = await read_body(reader, head)
            request = Request(connection.index, head, raw_body, body)
            connection.requests += 1
            self.requests.append(request)
            answer = self.handler(request)
            if answer.acts:
                self.acted.append(request)
        await send(writer, answer)
        if answer.ending is Ending.KEEP and answer.framing != "close":
            return True
        await end(reader, writer, answer.ending)
        return False


def is_create(request: Request) -> bool:
    """Tell whether *request* is one that must never be repeated blindly."""
    return CREATES.fullmatch(f"{request.method} {request.path}") is not None


async def send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Write the bytes of *answer*, in its rhythm, up to its cut."""
    await asyncio.sleep(answer.delay)
    data = answer.sent()
    step = answer.step or max(len(data), 1)
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
        await writer.drain()
        if answer.pause and start + step < len(data):
            await asyncio.sleep(answer.pause)
    for piece in answer.source() if answer.source else ():
        writer.write(piece)
        await writer.drain()


async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ending: Ending) -> None:
    """End the connection in the way of *ending*; a hang lasts until the client leaves."""
    if ending is Ending.RESET:
        reset(writer)
    elif ending in {Ending.HANG, Ending.HALF_CLOSE}:
        if ending is Ending.HALF_CLOSE:
            writer.write_eof()
        while await reader.read(65536):
            pass


def reset(writer: asyncio.StreamWriter) -> None:
    """Drop the connection so that the peer sees a reset and not an orderly end."""
    peer: socket.socket = writer.get_extra_info("socket")
    if peer.fileno() >= 0:  # else it is closed already
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def script(*answers: Answer) -> Handler:
    """Answer the first request with the first answer and so on; the last one serves for ever."""
    rest = list(answers)

    def handler(_request: Request) -> Answer:
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return handler


class Stranger(FaultServer):
    """Another origin, which the token must not reach; it answers every request."""

    def __init__(self, answer: Answer | None = None, *, tls: ssl.SSLContext | None = None):
        super().__init__(script(answer or Answer(body=b"{}")), tls=tls)

    def assert_untouched(self) -> None:
        assert not self.connections, f"a stranger was connected to, and asked {self.requests}"

    def assert_never_saw(self, secrets: Iterable[str]) -> None:
        for secret in secrets:
            assert secret.encode() not in self.received, "a stranger was sent a secret"
