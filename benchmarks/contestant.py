"""What is measured of every client; each module of `benchmarks.clients` has a `connect`."""

from __future__ import annotations

from typing import Protocol


class Contestant(Protocol):
    """A client that is connected to the load server."""

    async def get(self, id: str) -> None:
        """Ask for a prediction, and read it."""

    async def cycle(self) -> None:
        """Create a prediction and ask for it until it is over, without pauses."""

    async def page(self) -> None:
        """List one page of 100 predictions, and read them."""
