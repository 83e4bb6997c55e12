"""aiohttp, msgspec and httpx-sse alone: what a careful program does without an SDK.

One session, one request, one decode; no retries, rate limits, typed errors or checks.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from yarl import URL

from benchmarks.clients import INPUT, TOKEN, VERSION


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction."""

    id: str
    status: str
    urls: dict[str, str]
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


ONE: Final[msgspec.json.Decoder[Prediction]] = msgspec.json.Decoder(Prediction)
MANY: Final[msgspec.json.Decoder[Page]] = msgspec.json.Decoder(Page)
BODY: Final = msgspec.json.encode({"version": VERSION, "input": INPUT})


class Decoder:
    """The decoders of httpx-sse, for bytes."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._lines, self._events = SSELineDecoder(), SSEDecoder()

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Return the names of the events that are complete."""
        for line in self._lines.decode(self._text.decode(chunk)):
            event = self._events.decode(line)
            if event is not None:
                yield event.event


class Client:
    """A session of aiohttp."""

    def __init__(self, url: str) -> None:
        self._origin = url
        self._headers = {"Authorization": f"Bearer {TOKEN}"}
        self._json = self._headers | {"Content-Type": "application/json"}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60),
        )

    async def _send(self, method: str, path: str, data: bytes | None = None) -> bytes:
        url = URL(f"{self._origin}/v1{path}", encoded=True)
        headers = self._json if data else self._headers
        response = await self._session.request(method, url, headers=headers, data=data)
        body = await response.read()
        assert response.status < 300
        return body

    async def get(self) -> None:
        """Fetch a prediction."""
        assert ONE.decode(await self._send("GET", "/predictions/p")).id == "p"

    async def cycle(self) -> None:
        """Create a prediction and poll it until it has ended."""
        prediction = ONE.decode(await self._send("POST", "/predictions", BODY))
        while prediction.status != "succeeded":
            await asyncio.sleep(1e-6)
            prediction = ONE.decode(await self._send("GET", f"/predictions/{prediction.id}"))

    async def page(self) -> None:
        """List a page."""
        assert len(MANY.decode(await self._send("GET", "/predictions")).results) == 100

    async def read(self, path: str) -> int:
        """Decode the events of a stream."""
        decoder, count = Decoder(), 0
        async with self._session.get(self._origin + path) as response:
            while chunk := await response.content.readany():
                count += sum(name == "output" for name in decoder.feed(chunk))
        return count

    async def relay(self, path: str) -> int:
        """Pass the bytes on as they are."""
        count, rest, name = 0, b"", b"event: output\n"
        async with self._session.get(self._origin + path) as response:
            while chunk := await response.content.readany():
                count += (rest + chunk).count(name)
                rest = (rest + chunk)[1 - len(name) :]
        return count

    def parse(self, chunks: list[bytes]) -> int:
        """Parse with the decoders of httpx-sse."""
        decoder = Decoder()
        return sum(1 for chunk in chunks for _ in decoder.feed(chunk))

    async def upload(self, path: str) -> None:
        """Upload a file."""
        with Path(path).open("rb") as file:  # noqa: ASYNC230 - as most programs would
            form = aiohttp.FormData()
            form.add_field("content", file, filename="file")
            url = f"{self._origin}/v1/files"
            async with self._session.post(url, data=form, headers=self._headers) as response:
                await response.read()

    async def download(self, size: int, path: str) -> None:
        """Save a file."""
        with Path(path).open("wb") as file:  # noqa: ASYNC230 - as most programs would
            async with self._session.get(f"{self._origin}/files/{size}") as response:
                async for chunk in response.content.iter_chunked(256 * 1024):
                    file.write(chunk)
