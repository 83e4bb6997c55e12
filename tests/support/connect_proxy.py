"""An HTTP proxy that makes tunnels, and sends all of them to one server of the test's."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class ConnectProxy:
    """Answers CONNECT; each tunnel leads to port *port* of this machine, for any host.

    `heads` are the requests as they came, `hosts` those that were asked for. With *status* it
    refuses. A request that is no CONNECT is sent on as it is.
    """

    def __init__(self, port: int, *, status: int = 200) -> None:
        self.heads: list[bytes] = []
        self._port = port
        self._status = status
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def hosts(self) -> list[str]:
        lines = [head.split(b"\r\n")[0].decode().split() for head in self.heads]
        return [line[1].rpartition(":")[0] for line in lines if line[0] == "CONNECT"]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._tunnel(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side went away, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        connect = head.startswith(b"CONNECT ")
        if connect or self._status != 200:
            writer.write(b"HTTP/1.1 %d Proxy\r\nContent-Length: 0\r\n\r\n" % self._status)
        if self._status != 200:
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            if not connect:
                far_writer.write(head)
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
