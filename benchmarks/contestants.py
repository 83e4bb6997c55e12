"""Who is measured: modules of `benchmarks.clients`, each with a `connect`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol


class Client(Protocol):
    """A client that is connected to the load server; not every one can do everything."""

    async def get(self, id: str) -> None:
        """Ask for a prediction, and read it."""

    async def cycle(self) -> None:
        """Create a prediction and ask for it until it is over, without pauses."""

    async def held(self) -> None:
        """Run a model by one request that is held until the output is there."""

    async def page(self) -> None:
        """List one page of 100 predictions, and read them."""


@dataclass(frozen=True)
class Contestant:
    """A client, and where it runs."""

    module: str
    environment: str | None = None
    """One of `process.ENVIRONMENTS`, or None for the one that the benchmark runs in."""
    uvloop: bool = False
    way: str = ""
    """For modules that know more than one."""


OURS: Final = "replicate_async"
OURS_FAST: Final = "replicate_async, uvloop"
OURS_TUNED: Final = "replicate_async, uvloop, gc tuned"
AIOHTTP: Final = "aiohttp + msgspec"
AIOHTTP_FAST: Final = "aiohttp + msgspec, uvloop"
LLHTTP: Final = "asyncio protocol, llhttp"
LIMIT: Final = "asyncio protocol"
LIMIT_FAST: Final = "asyncio protocol, uvloop"
HTTPX: Final = "httpx + msgspec"
V1: Final = "replicate 1.0.7"
V2: Final = "replicate 2.0.0b4"
V2_AIOHTTP: Final = "replicate 2.0.0b4, aiohttp"

CONTESTANTS: Final = {
    OURS: Contestant("ours"),
    OURS_FAST: Contestant("ours", uvloop=True),
    OURS_TUNED: Contestant("ours", uvloop=True, way="tuned"),
    AIOHTTP: Contestant("bare", "bare"),
    AIOHTTP_FAST: Contestant("bare", "bare", uvloop=True),
    LLHTTP: Contestant("llhttp", "bare"),
    LIMIT: Contestant("limit", "bare"),
    LIMIT_FAST: Contestant("limit", "bare", uvloop=True),
    HTTPX: Contestant("httpx_msgspec", "httpx"),
    V1: Contestant("legacy", "1.0.7"),
    V2: Contestant("beta", "2.0.0b4"),
    V2_AIOHTTP: Contestant("beta", "2.0.0b4-aiohttp", way="aiohttp"),
}
PUBLISHED: Final = (V1, V2, V2_AIOHTTP)
EVERYONE: Final = tuple(CONTESTANTS)
