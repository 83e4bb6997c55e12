"""The bytes of a file as an answer: all or a range, read from disk while they are sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final
from urllib.parse import quote

from aiohttp import Payload, web
from aiohttp.abc import AbstractStreamWriter

from replicate_async.files.names import safe_name
from replicate_async.local.http.errors import not_found
from replicate_async.local.http.ranges import Span, select
from replicate_async.local.store.blobs import IN_MEMORY, Blob
from replicate_async.local.store.files import OutputFileRecord, StoredFile

OCTETS: Final = "application/octet-stream"


class BlobPayload(Payload):
    """A body that is read from disk while it is sent."""

    def __init__(self, content: Blob, span: Span) -> None:
        super().__init__(content)
        self._content = content
        self._span = span
        self._size = span.size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse, for the body is never whole in memory."""
        del encoding, errors
        raise TypeError(f"{self._content} is not read as text")

    def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the bytes in pieces."""
        return self._content.chunks(*self._span)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the bytes, no faster than the client takes them."""
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                await writer.write(chunk)


def output_response(request: web.Request, delivery: OutputFileRecord | None) -> web.Response:
    """Answer with an output file, or the range that the request names."""
    if delivery is None:
        raise not_found()
    headers = {
        "Content-Type": delivery.content_type,
        "Content-Disposition": content_disposition("inline", delivery.name),
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "*",
        "Cache-Control": "public, max-age=3600",
    }
    return _answer(request, delivery.content, headers)


def download_response(request: web.Request, stored: StoredFile) -> web.Response:
    """Answer with the bytes of an upload."""
    headers = {
        "Content-Type": OCTETS,
        "Content-Disposition": content_disposition("attachment", safe_name(stored.name)),
    }
    return _answer(request, stored.content, headers)


def content_disposition(kind: str, name: str) -> str:
    """Return the header for a file of a safe *name*: *kind* is "inline" or "attachment"."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    header = f'{kind}; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"


def _answer(request: web.Request, content: Blob, headers: dict[str, str]) -> web.Response:
    headers = {
        **headers,
        "Accept-Ranges": "bytes",
        "ETag": content.etag,
        "X-Content-Type-Options": "nosniff",
    }
    status, span = select(request.method, request.headers, etag=content.etag, size=content.size)
    if status in {304, 412}:
        del headers["Content-Type"], headers["Content-Disposition"]
    if status == 206 and span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{content.size}"
    if status == 416:
        headers["Content-Range"] = f"bytes */{content.size}"
    if span is None:
        return web.Response(status=status, headers=headers)
    if content.data is not None and span.size <= IN_MEMORY:
        body: object = content.data[span.start : span.stop]
    else:
        body = BlobPayload(content, span)
    if request.method == "HEAD":
        headers["Content-Length"] = str(span.size)
        body = None
    return web.Response(status=status, body=body, headers=headers)
