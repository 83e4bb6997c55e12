"""Bodies of requests that are sent piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from types import TracebackType
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from replicate_async.core.multipart import Multipart, Reading

_LARGEST_PIECE: Final = 1024 * 1024
"""Bytes that are sent at once; aiohttp warns of more."""


@asynccontextmanager
async def opened(
    body: Multipart,
) -> AsyncGenerator[tuple[aiohttp.MultipartWriter, list[Streamed]]]:
    """Open what *body* is made of, at its start, for as long as it is sent."""
    form = aiohttp.MultipartWriter("form-data")
    streamed: list[Streamed] = []
    async with AsyncExitStack() as readings:
        for part in body.parts:
            payload: aiohttp.Payload
            if isinstance(part.content, bytes):
                payload = aiohttp.BytesPayload(part.content, content_type=part.content_type)
            else:
                reading = await readings.enter_async_context(part.content.open())
                payload = Streamed(reading, part.content_type)
                streamed.append(payload)
            named = {} if part.filename is None else {"filename": part.filename}
            payload.set_content_disposition(
                "form-data", quote_fields=False, name=part.name, **named
            )
            form.append_payload(payload)
        yield form, streamed


class Streamed(aiohttp.Payload):
    """Content that is sent as it is read; keeps its failure, which aiohttp replaces by its own."""

    def __init__(self, reading: Reading, content_type: str | None) -> None:
        super().__init__(reading, content_type=content_type)
        self._reading = reading
        self._failure: Exception | None = None
        self._trace: TracebackType | None = None

    @property
    def size(self) -> int | None:
        """Its bytes, where they are known."""
        return self._reading.size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: no text is sent this way."""
        del encoding, errors
        raise TypeError("content that is sent as it is read is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it to *writer*."""
        while piece := await self._read():
            for at in range(0, len(piece), _LARGEST_PIECE):
                await writer.write(memoryview(piece)[at : at + _LARGEST_PIECE])
                # A socket that takes all at once would let nobody else have a turn.
                await asyncio.sleep(0)

    async def _read(self) -> bytes | memoryview:
        try:
            return await self._reading.read()
        except Exception as error:
            self._failure, self._trace = error, error.__traceback__
            raise

    def raise_failure(self) -> None:
        """Raise what reading it raised, if it did."""
        if self._failure is not None:
            # Without the frames of aiohttp that it passed later, where the request is.
            raise self._failure.with_traceback(self._trace)


def in_pieces(data: bytes) -> bytes | BytesIO:
    """Return *data* so that sending it holds nobody else up: large data is sent piece by piece."""
    return data if len(data) <= _LARGEST_PIECE else BytesIO(data)
