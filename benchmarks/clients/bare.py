"""aiohttp and msgspec alone: the least that a careful program without an SDK would do.

One session, one request, one decode; no retries, pacing, error mapping or checks of what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
import msgspec
from yarl import URL

from benchmarks.clients.shapes import BODY, MANY, ONE
from benchmarks.contestants import Client


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


def connect(url: str) -> Client:
    """Return the session, ready for *url*."""
    return Bare(url)
