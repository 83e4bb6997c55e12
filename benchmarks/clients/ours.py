"""`replicate_async`, as its users have it, but for limits and pauses that would be waited for."""

from __future__ import annotations

from benchmarks.contestants import Client
from benchmarks.limits import HIGH
from replicate_async import Poll, Replicate

_POLL = Poll(first=1e-6, starting=1e-6, processing=1e-6)
_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_REF = "meta/meta-llama-3-8b-instruct"


class Ours:
    """The client of this package."""

    def __init__(self, url: str) -> None:
        self._client = Replicate("r8_benchmark", base_url=url, limits=HIGH)

    async def get(self, id: str) -> None:
        """Ask for a prediction."""
        prediction = await self._client.predictions.get(id)
        assert prediction.id == id

    async def cycle(self) -> None:
        """Create a prediction and wait for it."""
        prediction = await self._client.predictions.create(_VERSION, {"text": "Alice"})
        prediction = await self._client.predictions.wait(prediction.id, poll=_POLL)
        assert prediction.status == "succeeded"

    async def held(self) -> None:
        """Run a model by one held request."""
        output = await self._client.run(_REF, {"text": "Alice"}, wait=True)
        assert output

    async def page(self) -> None:
        """List a page."""
        async for page in self._client.predictions.list().pages():
            assert len(page.results) == 100


def connect(url: str) -> Client:
    """Return the client, connected to *url*."""
    return Ours(url)
