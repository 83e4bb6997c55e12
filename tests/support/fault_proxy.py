"""A TCP proxy with toxics: it stands between a client and a server and makes the way bad.

Each direction is a chain of stages; a stage takes the stream of pieces and gives it on, later,
smaller, shorter or damaged. All chance comes from one seeded generator, so a run can be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from tests.support.fault_server import reset

Pieces = AsyncGenerator[bytes, None]


class Severed(Exception):  # noqa: N818 - it is a way of ending, and no failure of the proxy
    """The connection ends here and now, on both sides."""

    def __init__(self, *, by_reset: bool) -> None:
        super().__init__(by_reset)
        self.by_reset = by_reset


class Toxic(Protocol):
    """One way of making a direction bad."""

    def flow(self, pieces: Pieces, rng: random.Random) -> Pieces: ...


@dataclass(frozen=True)
class Latency:
    """Hold every piece back for *seconds*, give or take *jitter*."""

    seconds: float
    jitter: float = 0.0

    async def flow(self, pieces: Pieces, rng: random.Random) -> Pieces:
        async for piece in pieces:
            await asyncio.sleep(max(0.0, self.seconds + rng.uniform(-self.jitter, self.jitter)))
            yield piece


@dataclass(frozen=True)
class Bandwidth:
    """Let *rate* bytes a second through, in ten steps a second at least."""

    rate: int

    async def flow(self, pieces: Pieces, rng: random.Random) -> Pieces:
        del rng
        step = max(1, self.rate // 10)
        async for piece in pieces:
            for start in range(0, len(piece), step):
                part = piece[start : start + step]
                yield part
                await asyncio.sleep(len(part) / self.rate)


@dataclass(frozen=True)
class SlowClose:
    """Pass the end of the stream on *seconds* late."""

    seconds: float

    async def flow(self, pieces: Pieces, rng: random.Random) -> Pieces:
        del rng
        async for piece in pieces:
            yield piece
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True)
class Timeout:
    """Pass nothing on, and close after *seconds*; None never closes."""

    seconds: float | None = None

    async def flow(self, pieces: Pieces, rng: random.Random) -> Pieces:
        del rng
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                async for piece in pieces:
                    yield piece[:0]
                await asyncio.Event().wait()
        raise Severed(by_reset=False)


@dataclass(frozen=True)
class ResetPeer:
    """Reset the connection *seconds* after the first piece."""

    seconds: float = 0.0

    async def flow(self, pieces: Pieces, rng: random.Random) -> Pieces:
        del rng
        async for piece in pieces:
            yield piece[:0]
            await asyncio.sleep(self.seconds)
            raise Severed(by_reset=True)


@dataclass(frozen=True)
class Slicer:
    """Cut pieces into slices of *size* bytes, give or take *variation*, *delay* seconds apart."""

    size: int
    variation: int = 0
    delay: float = 0.0

    async def flow(self, pieces: Pieces, rng: random.Random) -> Pieces:
        async for piece in pieces:
            start = 0
            while start < len(piece):
                end = start + max(1, self.size + rng.randint(-self.variation, self.variation))
                yield piece[start:end]
                await asyncio.sleep(self.delay)
                start = end


@dataclass(frozen=True)
class LimitData:
    """Let *size* bytes through, then end; by a reset if *by_reset*, so a cut at byte *size*."""

    size: int
    by_reset: bool = False

    async def flow(self, pieces: Pieces, rng: random.Random) -> Pieces:
        del rng
        left = self.size
        async for piece in pieces:
            if left:
                yield piece[:left]
            left = max(0, left - len(piece))
            if not left:
                raise Severed(by_reset=self.by_reset)


@dataclass(frozen=True)
class CorruptAt:
    """Flip every bit of the byte at *offset*."""

    offset: int

    async def flow(self, pieces: Pieces, rng: random.Random) -> Pieces:
        del rng
        seen = 0
        async for piece in pieces:
            here = self.offset - seen
            seen += len(piece)
            if 0 <= here < len(piece):
                yield piece[:here] + bytes([piece[here] ^ 0xFF]) + piece[here + 1 :]
            else:
                yield piece


class Gate:
    """Hold all pieces back while it is closed, and count them."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.held = 0

    async def flow(self, pieces: Pieces, rng: random.Random) -> Pieces:
        del rng
        async for piece in pieces:
            self.held += not self.open.is_set()
            await self.open.wait()
            yield piece


async def _pieces(reader: asyncio.StreamReader) -> Pieces:
    while piece := await reader.read(65536):
        yield piece


class FaultProxy:
    """A loopback port that leads to *port* through the toxics of each direction.

    `upstream` and `downstream` may be changed at any time and hold for connections made after.
    While `down` is true, connections are accepted and dropped at once.
    """

    def __init__(
        self,
        port: int,
        *,
        upstream: Sequence[Toxic] = (),
        downstream: Sequence[Toxic] = (),
        seed: int = 0,
    ) -> None:
        self.target = port
        self.port = 0
        self.upstream = upstream
        self.downstream = downstream
        self.down = False
        self.accepted = 0
        self._dice = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
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

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.down:
            reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except ConnectionError:
            reset(writer)
            return
        # Python 3.11 reports the exception of a cancelled callback, so none is left.
        with contextlib.suppress(asyncio.CancelledError):
            await self._join(reader, writer, far_reader, far_writer)

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, self.upstream))
                group.create_task(self._pump(far_reader, writer, self.downstream))
        except* Severed as severed:
            if any(isinstance(end, Severed) and end.by_reset for end in severed.exceptions):
                reset(writer)
        except* ConnectionError:
            reset(writer)
        finally:
            for side in (writer, far_writer):
                side.close()
            for side in (writer, far_writer):
                with contextlib.suppress(ConnectionError):
                    await side.wait_closed()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toxics: Sequence[Toxic]
    ) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        pieces = _pieces(reader)
        for toxic in toxics:
            pieces = toxic.flow(pieces, self._dice)
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if piece:
                    writer.write(piece)
                await writer.drain()
        if writer.can_write_eof():
            with contextlib.suppress(OSError):  # the other side may have gone meanwhile
                writer.write_eof()
