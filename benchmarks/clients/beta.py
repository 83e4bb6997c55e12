"""`replicate` 2.0.0b4; it follows predictions by polling, and has no method that reads a stream."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.clients import INPUT, TOKEN, VERSION

os.environ["REPLICATE_POLL_INTERVAL"] = "0.000001"


class Client:
    """The asynchronous client of 2.0.0b4, on aiohttp where its extra is installed."""

    def __init__(self, url: str) -> None:
        replicate: Any = import_module("replicate")
        files: Any = import_module("replicate.lib._files")
        self._origin = url
        self._output = files.AsyncFileOutput
        http = replicate.DefaultAioHttpClient() if find_spec("aiohttp") else None
        self._client = replicate.AsyncReplicate(
            bearer_token=TOKEN, base_url=f"{url}/v1", http_client=http
        )

    async def get(self) -> None:
        """Fetch a prediction."""
        assert (await self._client.predictions.get(prediction_id="p")).id == "p"

    async def cycle(self) -> None:
        """Create a prediction and wait for it."""
        prediction = await self._client.predictions.create(version=VERSION, input=INPUT)
        prediction = await self._client.predictions.wait(prediction.id)
        assert prediction.status == "succeeded"

    async def page(self) -> None:
        """List a page."""
        assert len((await self._client.predictions.list()).results) == 100

    async def upload(self, path: str) -> None:
        """Upload a file."""
        await self._client.files.create(content=Path(path))

    async def download(self, size: int, path: str) -> None:
        """Save a file; the package has no method for it."""
        with Path(path).open("wb") as file:  # noqa: ASYNC230 - as most programs would
            async for chunk in self._output(f"{self._origin}/files/{size}", self._client):
                file.write(chunk)
