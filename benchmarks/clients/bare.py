"""aiohttp and msgspec alone: the least that a careful program without an SDK would do.

One session, one request, one decode; no retries, pacing, error mapping or checks of what is sent.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from benchmarks.contestant import Contestant


class URLs(msgspec.Struct, frozen=True, kw_only=True):
    """The URLs of a prediction."""

    get: str
    cancel: str
    web: str
    stream: str | None = None


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction."""

    id: str
    status: str
    urls: URLs
    model: str | None = None
    version: str | None = None
    input: Any = None
    output: Any = None
    logs: str | None = None
    error: str | None = None
    source: str | None = None
    data_removed: bool | None = None
    metrics: dict[str, Any] | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of predictions."""

    results: list[Prediction]
    next: str | None = None


_ONE: msgspec.json.Decoder[Prediction] = msgspec.json.Decoder(Prediction)
_MANY: msgspec.json.Decoder[Page] = msgspec.json.Decoder(Page)
_BODY = {
    "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
    "input": {"text": "Alice"},
}


class Bare:
    """A session of aiohttp."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._headers = {"Authorization": "Bearer r8_benchmark"}
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def _ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        response = await self._session.request(
            method,
            URL(f"{self._url}{path}", encoded=True),
            headers=self._headers,
            data=data,
            timeout=self._timeout,
        )
        body = await response.read()
        assert response.status < 300
        return body

    async def get(self, id: str) -> None:
        """Ask for a prediction."""
        prediction = _ONE.decode(await self._ask("GET", f"/predictions/{id}"))
        assert prediction.id == id

    async def cycle(self) -> None:
        """Create a prediction and ask until it is over."""
        body = msgspec.json.encode(_BODY)
        prediction = _ONE.decode(await self._ask("POST", "/predictions", body))
        while prediction.status != "succeeded":
            await asyncio.sleep(1e-6)
            prediction = _ONE.decode(await self._ask("GET", f"/predictions/{prediction.id}"))

    async def page(self) -> None:
        """List a page."""
        page = _MANY.decode(await self._ask("GET", "/predictions"))
        assert len(page.results) == 100


def connect(url: str) -> Contestant:
    """Return the session, ready for *url*."""
    return Bare(url)
