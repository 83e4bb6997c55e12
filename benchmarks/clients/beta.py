"""`replicate` 2.0.0b4."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from benchmarks.contestant import Contestant

_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


class Beta:
    """The asynchronous client of 2.0.0b4."""

    def __init__(self, url: str) -> None:
        os.environ["REPLICATE_POLL_INTERVAL"] = "0.000001"
        replicate: Any = import_module("replicate")
        self._client = replicate.AsyncReplicate(bearer_token="r8_benchmark", base_url=url)

    async def get(self, id: str) -> None:
        """Ask for a prediction."""
        prediction = await self._client.predictions.get(prediction_id=id)
        assert prediction.id == id

    async def cycle(self) -> None:
        """Create a prediction and wait for it."""
        prediction = await self._client.predictions.create(
            version=_VERSION, input={"text": "Alice"}
        )
        prediction = await self._client.predictions.wait(prediction.id)
        assert prediction.status == "succeeded"

    async def page(self) -> None:
        """List a page."""
        page = await self._client.predictions.list()
        assert len(page.results) == 100


def connect(url: str) -> Contestant:
    """Return the client, connected to *url*."""
    return Beta(url)
