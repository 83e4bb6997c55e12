"""`replicate` 1.0.7."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from benchmarks.contestants import Client
from benchmarks.usage import Watched, saved, size_of

_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_REF = "meta/meta-llama-3-8b-instruct"


class Legacy:
    """The client of 1.0.7, by its asynchronous methods."""

    def __init__(self, url: str) -> None:
        os.environ["REPLICATE_POLL_INTERVAL"] = "0.000001"
        replicate: Any = import_module("replicate")
        helpers: Any = import_module("replicate.helpers")
        self._origin = url.removesuffix("/v1")
        self._output = helpers.FileOutput
        self._client = replicate.Client("r8_benchmark", base_url=url.removesuffix("/v1"))

    async def get(self, id: str) -> None:
        """Ask for a prediction."""
        prediction = await self._client.predictions.async_get(id)
        assert prediction.id == id

    async def cycle(self) -> None:
        """Create a prediction and wait for it."""
        prediction = await self._client.predictions.async_create(_VERSION, {"text": "Alice"})
        await prediction.async_wait()
        assert prediction.status == "succeeded"

    async def held(self) -> None:
        """Run a model by one held request."""
        output = await self._client.async_run(_REF, {"text": "Alice"}, wait=True)
        assert output

    async def page(self) -> None:
        """List a page."""
        page = await self._client.predictions.async_list()
        assert len(page) == 100

    async def upload(self, path: str) -> dict[str, float]:
        """Upload a file."""
        async with Watched() as watched:
            await self._client.files.async_create(path)
        return watched.figures(size_of(path))

    async def download(self, size: int, path: str) -> dict[str, float]:
        """Save a file of that size at *path*, which there is no method for."""
        output = self._output(f"{self._origin}/files/{size}", self._client)
        return await saved(output, size, path)


def connect(url: str) -> Client:
    """Return the client, connected to *url*."""
    return Legacy(url)
