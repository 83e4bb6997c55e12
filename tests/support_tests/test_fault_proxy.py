from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.support.fault_proxy import (
    Bandwidth,
    CorruptAt,
    FaultProxy,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)
from tests.support.fault_server import FaultServer, script
from tests.support.wire import Answer

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = Answer(body=b"0123456789" * 20, framing="close")


async def through(
    downstream: Sequence[Toxic] = (), upstream: Sequence[Toxic] = (), seed: int = 0
) -> tuple[list[bytes], FaultServer]:
    """Ask once through the toxics; gives the pieces as they came."""
    pieces: list[bytes] = []
    async with (
        FaultServer(script(ANSWER)) as server,
        FaultProxy(server.port, upstream=upstream, downstream=downstream, seed=seed) as proxy,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            writer.write(GET)
            while piece := await reader.read(4096):
                pieces.append(piece)
        except ConnectionResetError:
            pieces.append(b"RESET")
        finally:
            writer.close()
        return pieces, server


@pytest.mark.parametrize(
    "toxic",
    [Latency(0.002, 0.001), Bandwidth(50_000), SlowClose(0.002), Slicer(20, 5)],
    ids=lambda toxic: type(toxic).__name__,
)
async def test_slow_ways_change_no_byte(toxic: Toxic) -> None:
    pieces, _ = await through([toxic])

    assert b"".join(pieces) == ANSWER.wire()


async def test_no_toxics_change_nothing() -> None:
    pieces, server = await through()

    assert b"".join(pieces) == ANSWER.wire()
    assert server.received == GET


@pytest.mark.parametrize("size", [0, 1, 60, len(ANSWER.wire()) - 1])
@pytest.mark.parametrize("by_reset", [False, True], ids=["closed", "reset"])
async def test_a_cut_comes_after_the_byte_asked_for(size: int, by_reset: bool) -> None:
    pieces, _ = await through([LimitData(size, by_reset=by_reset)])

    assert b"".join(pieces) == ANSWER.wire()[:size] + (b"RESET" if by_reset else b"")


async def test_a_limit_beyond_the_answer_changes_nothing() -> None:
    pieces, _ = await through([LimitData(10_000)])

    assert b"".join(pieces) == ANSWER.wire()


async def test_a_request_can_be_cut_as_well() -> None:
    pieces, server = await through(upstream=[LimitData(10)])

    assert pieces == []
    assert server.received == GET[:10]


async def test_a_reset_peer_sends_nothing_and_resets() -> None:
    pieces, _ = await through([ResetPeer()])

    assert pieces == [b"RESET"]


async def test_a_timeout_passes_nothing_and_closes() -> None:
    pieces, _ = await through([Timeout(0.01)])

    assert pieces == []


async def test_one_byte_is_corrupted() -> None:
    pieces, _ = await through([Slicer(7), CorruptAt(30)])

    whole = ANSWER.wire()
    assert b"".join(pieces) == whole[:30] + bytes([whole[30] ^ 0xFF]) + whole[31:]


async def test_a_proxy_that_is_down_drops_connections() -> None:
    async with FaultServer(script(ANSWER)) as server, FaultProxy(server.port) as proxy:
        proxy.down = True
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

        assert proxy.accepted == 1
        assert server.connections == []
