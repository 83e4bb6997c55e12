"""The load server: HTTP/1.1 by hand, so that the client is what a benchmark measures.

    python -m benchmarks.server

Prints its port and serves until its standard input ends, on uvloop where that is installed. A
prediction made by POST is `starting`, then `processing` for two looks, then `succeeded`; with
``Prefer: wait`` it is over at once, and so is any other. ``GET /files/SIZE`` is a file of that many
bytes, and what is uploaded to ``POST /v1/files`` is counted and forgotten.
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
_PAGE: Final = answer(
    b"200 OK",
    json.dumps(
        {
            "next": None,
            "previous": None,
            "results": [prediction(f"{n:026x}", "succeeded") for n in range(100)],
        },
        separators=(",", ":"),
    ).encode(),
)
_NOT_FOUND: Final = answer(b"404 Not Found", b'{"detail":"no such path"}')


class Server(asyncio.Protocol):
    """One connection."""

    _ids = itertools.count()
    _looks: Final[dict[bytes, int]] = {}

    def __init__(self) -> None:
        self._data = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        # uvloop's are no subclasses.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._data += data
        while (request := self._next()) is not None:
            assert self._transport is not None
            self._transport.write(self._answer(request))

    def _next(self) -> bytes | None:
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return None
        lowered = head.lower()
        place = lowered.find(b"\r\ncontent-length:")
        length = int(lowered[place + 17 :].partition(b"\r\n")[0]) if place >= 0 else 0
        if len(rest) < length:
            return None
        self._data = rest[length:]
        return head

    def _answer(self, head: bytes) -> bytes:
        method, path, _ = head.split(b" ", 2)
        if method == b"POST" and b"\r\nprefer: wait" in head.lower():
            id = b"made%022x" % next(self._ids)
            return answer(b"201 Created", _SHAPES["succeeded"].replace(b"~" * 26, id))
        if method == b"POST" and path == _PATH:
            id = b"made%022x" % next(self._ids)
            self._looks[id] = LOOKS
            return answer(b"201 Created", _SHAPES["starting"].replace(b"~" * 26, id))
        if path == _PATH:
            return _PAGE
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
