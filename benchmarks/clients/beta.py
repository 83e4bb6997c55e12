"""`replicate` 2.0.0b4, on httpx or on aiohttp."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.contestants import Client
from benchmarks.usage import Watched, saved, size_of

_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_REF = "meta/meta-llama-3-8b-instruct"


class Beta:
    """The asynchronous client of 2.0.0b4."""

    def __init__(self, url: str, way: str) -> None:
        os.environ["REPLICATE_POLL_INTERVAL"] = "0.000001"
        replicate: Any = import_module("replicate")
        files: Any = import_module("replicate.lib._files")
        self._origin = url.removesuffix("/v1")
        self._output = files.AsyncFileOutput
        http = replicate.DefaultAioHttpClient() if way == "aiohttp" else None
        self._client = replicate.AsyncReplicate(
            bearer_token="r8_benchmark", base_url=url, http_client=http
        )

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

    async def held(self) -> None:
        """Run a model by one held request."""
        output = await self._client.run(_REF, input={"text": "Alice"}, wait=True)
        assert output

    async def page(self) -> None:
        """List a page."""
        page = await self._client.predictions.list()
        assert len(page.results) == 100

    async def upload(self, path: str) -> dict[str, float]:
        """Upload a file."""
        async with Watched() as watched:
            await self._client.files.create(content=Path(path))
        return watched.figures(size_of(path))

    async def download(self, size: int, path: str) -> dict[str, float]:
        """Save a file of that size at *path*, which there is no method for."""
        output = self._output(f"{self._origin}/files/{size}", self._client)
        return await saved(output, size, path)


def connect(url: str, way: str = "httpx") -> Client:
    """Return the client, connected to *url*."""
    return Beta(url, way)
