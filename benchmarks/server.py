"""The load server: HTTP/1.1 by hand, so that the client is what a benchmark measures.

    python -m benchmarks.server

Prints its port and serves until its standard input ends, on uvloop where that is installed. A
prediction made by POST is `starting`, then `processing` for two looks, then `succeeded`; with
``Prefer: wait`` it is over at once, and so is any other. ``GET /pages/N/v1/predictions`` is the
first of N pages, ``GET /files/SIZE`` a file of that many bytes, and what is uploaded to
``POST /v1/files`` is forgotten as it comes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from importlib.util import find_spec
from typing import Final, cast

from benchmarks.worker import run

LOOKS: Final = 3

_PATH: Final = b"/v1/predictions"
_FILE_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n"
    b'ETag: "bench"\r\nAccept-Ranges: bytes\r\n\r\n'
)
_URLS: Final = "https://api.replicate.com/v1/predictions/"
_VERSION: Final = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_TEXT: Final = "It was a bright cold day in April, and the clocks were striking thirteen. "


def prediction(id: str, status: str) -> dict[str, object]:
    """Return a prediction of about 1.2 kB when it has succeeded."""
    over = status == "succeeded"
    return {
        "id": id,
        "model": "meta/meta-llama-3-8b-instruct",
        "version": _VERSION,
        "input": {"prompt": _TEXT * 2, "max_tokens": 64, "temperature": 0.7},
        "logs": "Using seed: 16010\n" if over else "",
        "output": _TEXT.split(" ") if over else None,
        "data_removed": False,
        "error": None,
        "source": "api",
        "status": status,
        "created_at": "2026-01-05T10:00:00.123Z",
        "started_at": None if status == "starting" else "2026-01-05T10:00:00.456Z",
        "completed_at": "2026-01-05T10:00:01.789012Z" if over else None,
        "metrics": {"predict_time": 1.333012, "total_time": 1.666012} if over else {},
        "urls": {
            "get": f"{_URLS}{id}",
            "cancel": f"{_URLS}{id}/cancel",
            "web": f"https://replicate.com/p/{id}",
        },
    }


def answer(status: bytes, body: bytes) -> bytes:
    """Return the bytes of an answer, with the headers that the service sends."""
    head = (
        b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"ratelimit-remaining: 59999\r\nratelimit-reset: 1\r\n"
        b"Date: Mon, 05 Jan 2026 10:00:00 GMT\r\nServer: bench\r\nVary: Cookie, origin\r\n\r\n"
    )
    return head % (status, len(body)) + body


def _shape(status: str) -> bytes:
    return json.dumps(prediction("~" * 26, status), separators=(",", ":")).encode()


_SHAPES: Final = {status: _shape(status) for status in ("starting", "processing", "succeeded")}
_RESULTS: Final = json.dumps(
    [prediction(f"{n:026x}", "succeeded") for n in range(100)], separators=(",", ":")
).encode()


def page(following: bytes = b"null") -> bytes:
    """Return a page of 100, with that JSON as the URL of the next."""
    body = b'{"previous":null,"next":%s,"results":%s}' % (following, _RESULTS)
    return answer(b"200 OK", body)


_PAGE: Final = page()
_UPLOADED: Final = answer(
    b"201 Created",
    json.dumps(
        {
            "id": "cneqzikepnug6xezperrr4z55o",
            "name": "file",
            "content_type": "application/octet-stream",
            "size": 0,
            "etag": "d41d8cd98f00b204e9800998ecf8427e",
            "checksums": {"sha256": "0" * 64, "md5": "0" * 32},
            "metadata": {},
            "created_at": "2026-01-05T10:00:00.123Z",
            "expires_at": "2026-01-06T10:00:00.123Z",
            "urls": {"get": "https://api.replicate.com/v1/files/cneqzikepnug6xezperrr4z55o"},
        }
    ).encode(),
)
_PIECE: Final = bytes(256 * 1024)
_NOT_FOUND: Final = answer(b"404 Not Found", b'{"detail":"no such path"}')


def _of_many(path: bytes, head: bytes) -> bytes:
    """Return a page of a listing whose path says how many it has."""
    listing, _, at = path.partition(b"?cursor=")
    following = int(at or 1) + 1
    if following > int(listing.split(b"/")[2]):
        return _PAGE
    host = head[head.lower().find(b"\r\nhost: ") + 8 :].partition(b"\r\n")[0]
    return page(b'"http://%s%s?cursor=%d"' % (host, listing, following))


class Server(asyncio.Protocol):
    """One connection."""

    _ids = itertools.count()
    _looks: Final[dict[bytes, int]] = {}

    def __init__(self) -> None:
        self._data = b""
        self._transport: asyncio.WriteTransport
        self._upload_left = 0
        self._chunked = False
        self._download_left = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        # uvloop's are no subclasses.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        if self._upload_left or self._chunked:
            self._take(data)
            return
        self._data += data
        while (request := self._next()) is not None:
            if request.startswith(b"GET /files/"):
                self._download_left = int(request.split(b" ", 2)[1].rpartition(b"/")[2])
                self._transport.write(_FILE_HEAD % self._download_left)
                self.resume_writing()
            elif self._upload_left or self._chunked:
                rest, self._data = self._data, b""
                self._take(rest)
            else:
                self._transport.write(self._answer(request))

    def _take(self, data: bytes) -> None:
        """Forget a part of an upload, and answer after the last."""
        if self._chunked:
            self._chunked = not data.endswith(b"0\r\n\r\n")
        else:
            self._upload_left -= len(data)
        if not self._chunked and self._upload_left <= 0:
            self._upload_left = 0
            self._transport.write(_UPLOADED)

    def pause_writing(self) -> None:
        """Wait for the reader."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send of a file what the connection takes."""
        self._paused = False
        while self._download_left and not self._paused:
            piece = _PIECE[: self._download_left]
            self._download_left -= len(piece)
            self._transport.write(piece)

    def _next(self) -> bytes | None:
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return None
        lowered = head.lower()
        place = lowered.find(b"\r\ncontent-length:")
        length = int(lowered[place + 17 :].partition(b"\r\n")[0]) if place >= 0 else 0
        if head.startswith(b"POST /v1/files "):
            self._upload_left, self._chunked, self._data = length, place < 0, rest
            return head
        if len(rest) < length:
            return None
        self._data = rest[length:]
        return head

    def _answer(self, head: bytes) -> bytes:
        method, path, _ = head.split(b" ", 2)
        if method == b"POST" and b"\r\nprefer: wait" in head.lower():
            id = b"made%022x" % next(self._ids)
            return answer(b"201 Created", _SHAPES["succeeded"].replace(b"~" * 26, id))
        if method == b"POST":
            id = b"made%022x" % next(self._ids)
            self._looks[id] = LOOKS
            return answer(b"201 Created", _SHAPES["starting"].replace(b"~" * 26, id))
        if path == _PATH:
            return _PAGE
        if path.startswith(b"/pages/"):
            return _of_many(path, head)
        if not path.startswith(_PATH):
            return _NOT_FOUND
        id = path[len(_PATH) + 1 :]
        left = self._looks.get(id, 0)
        status = "succeeded"
        if left > 1:
            self._looks[id] = left - 1
            status = "processing"
        elif left:
            del self._looks[id]
        return answer(b"200 OK", _SHAPES[status].replace(b"~" * 26, id))


async def main() -> None:
    """Serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    run(main(), "uvloop" if find_spec("uvloop") else "asyncio")
