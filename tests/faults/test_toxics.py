"""Every kind of bad network on the way: the right value, or a typed error in time."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from replicate_async import AmbiguousCreateError, Replicate, ReplicateError, Timeout
from tests.faults.calls import AT_ONCE, CREATES, HARMLESS_WRITES, READS, after
from tests.support.embedded import until
from tests.support.fault_proxy import (
    Bandwidth,
    CorruptAt,
    FaultProxy,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Toxic,
)
from tests.support.fault_proxy import Timeout as Silence
from tests.support.sentinel import TOKEN, assert_clean
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio

GENTLE: Final[dict[str, Toxic]] = {
    "latency": Latency(0.004, 0.004),
    "bandwidth": Bandwidth(200_000),
    "slow close": SlowClose(0.01),
    "slicer": Slicer(40, 30, 0.0005),
}
HARSH: Final[dict[str, Toxic]] = {
    "silence": Silence(),
    "silence, then closed": Silence(0.02),
    "reset": ResetPeer(0.002),
    "closed at byte 0": LimitData(0),
    "closed at byte 20": LimitData(20),
    "closed at byte 120": LimitData(120),
    "reset at byte 0": LimitData(0, by_reset=True),
    "reset at byte 120": LimitData(120, by_reset=True),
    "corrupt status": CorruptAt(9),
    "corrupt header": CorruptAt(20),
    "corrupt body": CorruptAt(130),
}
OPERATIONS: Final = {
    "predictions.create": CREATES["predictions.create"],
    "files.create": CREATES["files.create"],
    "predictions.get": READS["predictions.get"],
    "predictions.list": READS["predictions.list"],
    "predictions.cancel": HARMLESS_WRITES["predictions.cancel"],
}


def client_through(proxy: FaultProxy) -> Replicate:
    # Of the proxy's origin, and not the server's: what the server says of URLs is ignored here.
    return Replicate(TOKEN, base_url=proxy.url, retry=AT_ONCE, timeout=Timeout(read=0.1))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("toxic", GENTLE)
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_slow_way_changes_nothing(name: str, toxic: str, way: str) -> None:
    toxics = {"upstream" if way == "up" else "downstream": [GENTLE[toxic]]}
    async with (
        after() as server,
        FaultProxy(server.port, **toxics, seed=1) as proxy,
        client_through(proxy).with_options(timeout=HANG) as client,
    ):
        await OPERATIONS[name](client)

    assert len(server.requests) == 1


CASES: Final = [
    (name, toxic, way)
    for name in OPERATIONS
    for toxic in HARSH
    for way in ("up", "down")
    # What a server makes of a corrupt request is its own affair.
    if not (way == "up" and toxic.startswith("corrupt"))
    # An upload may stay silent for ten minutes, which no test waits for.
    if not (name == "files.create" and toxic == "silence")
]


@pytest.mark.parametrize(("name", "toxic", "way"), CASES)
@pytest.mark.virtual_clock
async def test_a_broken_way_ends_in_a_typed_error_and_in_one_creation_at_most(
    name: str, toxic: str, way: str
) -> None:
    toxics = {"upstream" if way == "up" else "downstream": [HARSH[toxic]]}
    async with after() as server, FaultProxy(server.port, **toxics, seed=2) as proxy:
        async with client_through(proxy) as client, asyncio.timeout(3):
            try:
                await OPERATIONS[name](client)
                error = None
            except ReplicateError as caught:
                error = caught
        proxied = proxy.accepted

    assert server.creations <= 1
    if error is not None:
        assert_clean(error)
    if name.endswith("create"):
        assert proxied == 1
        # An error that says that it was not created is right.
        assert isinstance(error, AmbiguousCreateError) or server.creations == (error is None)


async def test_a_way_that_is_down_for_a_while_is_waited_for() -> None:
    retry = AT_ONCE.__class__(attempts=200, base=0.002, cap=0.002)
    async with after() as server, FaultProxy(server.port) as proxy:
        proxy.down = True
        async with client_through(proxy).with_options(retry=retry) as client:
            asking = asyncio.create_task(client.predictions.get("abc"))
            await until(lambda: proxy.accepted > 0)
            proxy.down = False
            assert (await asking).id == "abc"

        assert proxy.accepted > 1
