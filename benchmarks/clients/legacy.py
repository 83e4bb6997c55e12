"""`replicate` 1.0.7, by its asynchronous methods."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.clients import INPUT, TOKEN, VERSION

os.environ["REPLICATE_POLL_INTERVAL"] = "0.000001"


class Client:
    """The client of 1.0.7."""

    def __init__(self, url: str) -> None:
        replicate: Any = import_module("replicate")
        helpers: Any = import_module("replicate.helpers")
        httpx: Any = import_module("httpx")
        self._origin = url
        self._output = helpers.FileOutput
        # Without these, it has 100 connections, and waits 10 seconds for one.
        transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None))
        self._client = replicate.Client(
            TOKEN, base_url=url, timeout=httpx.Timeout(None), transport=transport
        )

    async def get(self) -> None:
        """Fetch a prediction."""
        assert (await self._client.predictions.async_get("p")).id == "p"

    async def cycle(self) -> None:
        """Create a prediction and wait for it."""
        prediction = await self._client.predictions.async_create(VERSION, INPUT)
        await prediction.async_wait()
        assert prediction.status == "succeeded"

    async def page(self) -> None:
        """List a page."""
        assert len(await self._client.predictions.async_list()) == 100

    async def read(self, path: str) -> int:
        """Read the events of a stream."""
        count = 0
        stream = await self._client.async_stream(f"meta/llama:{VERSION}", {"path": path})
        async for event in stream:
            count += event.event.value == "output"
        return count

    async def upload(self, path: str) -> None:
        """Upload a file."""
        await self._client.files.async_create(path)

    async def download(self, size: int, path: str) -> None:
        """Save a file; the package has no method for it."""
        with Path(path).open("wb") as file:  # noqa: ASYNC230 - as most programs would
            async for chunk in self._output(f"{self._origin}/files/{size}", self._client):
                file.write(chunk)
