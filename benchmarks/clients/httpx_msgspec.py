"""httpx and msgspec alone: one client, its limit of connections lifted."""

from __future__ import annotations

import asyncio

import httpx
import msgspec

from benchmarks.clients.shapes import BODY, MANY, ONE
from benchmarks.contestants import Client


class Httpx:
    """A client of httpx."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.AsyncClient(
            headers={"Authorization": "Bearer r8_benchmark"},
            timeout=httpx.Timeout(60, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, prefer: str = ""
    ) -> bytes:
        headers = {"Content-Type": "application/json"} if body else {}
        if prefer:
            headers["Prefer"] = prefer
        response = await self._client.request(
            method, f"{self._url}{path}", content=body, headers=headers
        )
        assert response.status_code < 300
        return response.content

    async def get(self, id: str) -> None:
        """Ask for a prediction."""
        prediction = ONE.decode(await self._ask("GET", f"/predictions/{id}"))
        assert prediction.id == id

    async def cycle(self) -> None:
        """Create a prediction and ask until it is over."""
        body = msgspec.json.encode(BODY)
        prediction = ONE.decode(await self._ask("POST", "/predictions", body))
        while prediction.status != "succeeded":
            await asyncio.sleep(1e-6)
            prediction = ONE.decode(await self._ask("GET", f"/predictions/{prediction.id}"))

    async def held(self) -> None:
        """Create a prediction that is over when it is answered."""
        answer = await self._ask("POST", "/predictions", msgspec.json.encode(BODY), "wait")
        assert ONE.decode(answer).output

    async def page(self) -> None:
        """List a page."""
        page = MANY.decode(await self._ask("GET", "/predictions"))
        assert len(page.results) == 100


def connect(url: str) -> Client:
    """Return the client, ready for *url*."""
    return Httpx(url)
