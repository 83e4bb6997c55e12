"""Request bodies that are sent in pieces."""

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
    """Open the sources of *body* at their start, until it is sent."""
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
    """A source that is read while it is sent; it keeps its error, which aiohttp replaces."""

    def __init__(self, reading: Reading, content_type: str | None) -> None:
        super().__init__(reading, content_type=content_type)
        self._reading = reading
        self._failure: Exception | None = None
        self._trace: TracebackType | None = None

    @property
    def size(self) -> int | None:
        """Its length in bytes, if known."""
        return self._reading.size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Raise `TypeError`: a source is no text."""
        del encoding, errors
        raise TypeError("a source that is read while it is sent is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the source to *writer*."""
        while piece := await self._read():
            for at in range(0, len(piece), _LARGEST_PIECE):
                await writer.write(memoryview(piece)[at : at + _LARGEST_PIECE])
                # A socket that takes each piece at once would starve other tasks.
                await asyncio.sleep(0)

    async def _read(self) -> bytes | memoryview:
        try:
            return await self._reading.read()
        except Exception as error:
            self._failure, self._trace = error, error.__traceback__
            raise

    def raise_failure(self) -> None:
        """Raise the error of the source, if it raised one."""
        if self._failure is not None:
            # Without the later frames of aiohttp, which hold the request.
            raise self._failure.with_traceback(self._trace)


def in_pieces(data: bytes) -> bytes | BytesIO:
    """Return *data* in a form that is sent in pieces if it is large, so that other tasks run."""
    return data if len(data) <= _LARGEST_PIECE else BytesIO(data)
