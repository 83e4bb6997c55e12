"""aiohttp and msgspec alone: the least that a careful program without an SDK would do.

One session, one request, one decode; no retries, pacing, error mapping or checks of what is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from random import random

import aiohttp
import msgspec
from yarl import URL

from benchmarks.clients.shapes import BODY, MANY, ONE
from benchmarks.clients.waiting import polls
from benchmarks.contestants import Client
from benchmarks.usage import Watched, size_of


class Bare:
    """A session of aiohttp."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._headers = {"Authorization": "Bearer r8_benchmark"}
        self._json = self._headers | {"Content-Type": "application/json"}
        self._held = self._json | {"Prefer": "wait"}
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def _ask(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        response = await self._session.request(
            method,
            URL(f"{self._url}{path}", encoded=True),
            headers=headers,
            data=data,
            timeout=self._timeout,
        )
        body = await response.read()
        assert response.status < 300
        return body

    async def get(self, id: str) -> None:
        """Ask for a prediction."""
        prediction = ONE.decode(await self._ask("GET", f"/predictions/{id}", None, self._headers))
        assert prediction.id == id

    async def cycle(self) -> None:
        """Create a prediction and ask until it is over."""
        body = msgspec.json.encode(BODY)
        prediction = ONE.decode(await self._ask("POST", "/predictions", body, self._json))
        while prediction.status != "succeeded":
            await asyncio.sleep(1e-6)
            path = f"/predictions/{prediction.id}"
            prediction = ONE.decode(await self._ask("GET", path, None, self._headers))

    async def held(self) -> None:
        """Create a prediction that is over when it is answered."""
        body = msgspec.json.encode(BODY)
        prediction = ONE.decode(await self._ask("POST", "/predictions", body, self._held))
        assert prediction.output

    async def page(self) -> None:
        """List a page."""
        page = MANY.decode(await self._ask("GET", "/predictions", None, self._headers))
        assert len(page.results) == 100

    async def pages(self, count: int) -> dict[str, float]:
        """Iterate over the items of so many pages."""
        cpu = time.process_time()
        items, url = 0, f"{self._url.removesuffix('/v1')}/pages/{count}/v1/predictions"
        following: str | None = url
        while following:
            async with self._session.get(following, headers=self._headers) as response:
                page = MANY.decode(await response.read())
            for _ in page.results:
                items += 1
            following = page.next
        assert items == 100 * count
        return {"item": (time.process_time() - cpu) / items * 1e6}

    async def waits(self, count: int, seconds: float, jitter: float) -> dict[str, float]:
        """Wait for so many runs that never end, each in a task that sleeps half a second.

        A random part is taken off, up to *jitter*: without it all wake up at the same moment.
        """
        asked = 0

        async def fetch() -> str:
            nonlocal asked
            asked += 1
            return "processing"

        async def wait(_: str) -> None:
            while await fetch() == "processing":  # noqa: ASYNC110 - this is what is measured
                await asyncio.sleep(0.5 * (1 - jitter * random()))

        return await polls(wait, lambda: asked, count, seconds)

    async def batch(self, count: int) -> dict[str, float]:
        """Create so many predictions and wait for them, 64 at a time, without keeping count."""
        left = iter(range(count))
        begun, cpu = time.perf_counter(), time.process_time()

        async def work() -> None:
            for _ in left:
                await self.cycle()

        await asyncio.gather(*(work() for _ in range(64)))
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
        return {"item": cpu / count * 1e6, "items": count / seconds}

    async def upload(self, path: str) -> dict[str, float]:
        """Upload a file."""
        async with Watched() as watched:
            with Path(path).open("rb") as file:  # noqa: ASYNC230 - as most programs would
                form = aiohttp.FormData()
                form.add_field("content", file, filename="file")
                async with self._session.post(
                    f"{self._url}/files", data=form, headers=self._headers, timeout=self._timeout
                ) as response:
                    assert response.status == 201
                    await response.read()
        return watched.figures(size_of(path))

    async def download(self, size: int, path: str) -> dict[str, float]:
        """Save a file of that size at *path*."""
        url = f"{self._url.removesuffix('/v1')}/files/{size}"
        async with Watched() as watched:
            with Path(path).open("wb") as file:  # noqa: ASYNC230 - as most programs would
                async with self._session.get(url, timeout=self._timeout) as response:
                    async for chunk in response.content.iter_chunked(256 * 1024):
                        file.write(chunk)
        assert size_of(path) == size
        return watched.figures(size)


def connect(url: str) -> Client:
    """Return the session, ready for *url*."""
    return Bare(url)
