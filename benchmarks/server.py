"""The load server: canned answers, so that the client is what a benchmark measures.

    python -m benchmarks.server

Prints its port and serves until its standard input ends, on uvloop where that is installed.

    POST /v1/predictions               a run of three polls, with a stream at `input.path`
    GET /v1/predictions/ID             its state; an unknown id has ended
    GET /v1/predictions                a page of 100
    POST /v1/files                     drops the body
    GET /files/SIZE                    a file of so many bytes
    GET /s/NAME/EVENTS/SEGMENT/PAUSE   a stream: events, events in a segment, ms between segments
    GET /open/NAME, GET /go/NAME       the number of streams that are open; start them
"""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
from collections import defaultdict
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import msgspec

from replicate_async.core.sse import encode

POLLS: Final = 3
TOKENS: Final = [" the", " quick", " brown", " fox", ",", " jumps", " naïve", "."]
FILE: Final = {
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
_TEXT: Final = "It was a bright cold day in April, and the clocks were striking thirteen. "
_STREAM: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hi\n\n"
)
_PIECE: Final = bytes(256 * 1024)


def prediction(id: str, status: str, given: Any = None, stream: str = "") -> dict[str, object]:
    """Return a prediction, of about 1.2 kB when it has succeeded."""
    ended = status == "succeeded"
    url = f"https://api.replicate.com/v1/predictions/{id}"
    urls = {"get": url, "cancel": f"{url}/cancel", "web": f"https://replicate.com/p/{id}"}
    return {
        "id": id,
        "model": "meta/meta-llama-3-8b-instruct",
        "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
        "input": given or {"prompt": _TEXT * 2, "max_tokens": 64, "temperature": 0.7},
        "logs": "Using seed: 16010\n" if ended else "",
        "output": _TEXT.split(" ") if ended else None,
        "data_removed": False,
        "error": None,
        "source": "api",
        "status": status,
        "created_at": "2026-01-05T10:00:00.123Z",
        "started_at": None if status == "starting" else "2026-01-05T10:00:00.456Z",
        "completed_at": "2026-01-05T10:00:01.789012Z" if ended else None,
        "metrics": {"predict_time": 1.333012, "total_time": 1.666012} if ended else {},
        "urls": urls | ({"stream": stream} if stream else {}),
    }


@cache
def page() -> bytes:
    """Return the JSON of a page of 100 predictions."""
    results = [prediction(f"{n:026x}", "succeeded") for n in range(100)]
    return msgspec.json.encode({"previous": None, "next": None, "results": results})


@cache
def segment(start: int, end: int) -> bytes:
    """Return the bytes of these events of a stream."""
    tokens = (TOKENS[at % len(TOKENS)] for at in range(start, end))
    return b"".join(
        encode("output", t, id=f"1690212292:{at}") for at, t in enumerate(tokens, start)
    )


class Server:
    """The state of all runs and the streams that wait for their start."""

    def __init__(self) -> None:
        self.port = 0
        self._ids = itertools.count()
        self._polls: dict[str, int] = {}
        self._open: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(OSError, EOFError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.decode().split(" ", 2)
                await self._answer(writer, method, path, await _body(reader, head))
                await writer.drain()
        writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, method: str, path: str, body: bytes
    ) -> None:
        _, place, *rest = path.split("/")
        if place == "s":
            await self._stream(writer, rest[0], *map(int, rest[1:]))
        elif place == "files":
            left = int(rest[0])
            writer.write(_head("200 OK", left, 'ETag: "bench"\r\nAccept-Ranges: bytes\r\n'))
            for _ in range(left // len(_PIECE)):
                writer.write(_PIECE)
                await writer.drain()
            writer.write(_PIECE[: left % len(_PIECE)])
        elif place == "open":
            _send(writer, b"%d" % len(self._open[rest[0]]))
        elif place == "go":
            _send(writer, b"%d" % len(self._open[rest[0]]))
            for stream in self._open.pop(rest[0]):
                stream.set_result(None)
        elif method == "POST":
            made: object = (
                FILE if rest[-1] == "files" else self._create(msgspec.json.decode(body)["input"])
            )
            _send(writer, msgspec.json.encode(made), "201 Created")
        elif path == "/v1/predictions":
            _send(writer, page())
        else:
            _send(writer, msgspec.json.encode(self._state(rest[-1])))

    def _create(self, given: dict[str, Any]) -> dict[str, object]:
        id = f"made{next(self._ids):022x}"
        self._polls[id] = POLLS
        stream = f"http://127.0.0.1:{self.port}{given['path']}" if "path" in given else ""
        return prediction(id, "starting", given, stream)

    def _state(self, id: str) -> dict[str, object]:
        left = self._polls.pop(id, 1) - 1
        if left:
            self._polls[id] = left
        return prediction(id, "processing" if left else "succeeded")

    async def _stream(
        self, writer: asyncio.StreamWriter, name: str, events: int, size: int, pause: int
    ) -> None:
        writer.write(_STREAM)
        started = asyncio.get_running_loop().create_future()
        self._open[name].append(started)
        # Streams with pauses start one after the other, as those of different users do.
        late = len(self._open[name]) % 100 / 100 * pause / 1000
        await started
        await asyncio.sleep(late)
        for start in range(0, events, size):
            writer.write(segment(start, min(start + size, events)))
            await writer.drain()
            await asyncio.sleep(pause / 1000)
        writer.write(encode("done", "{}", id="1690212293:0"))
        writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if found := re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE):
        return await reader.readexactly(int(found[1]))
    if b"chunked" in head.lower():
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return b""


def _head(status: str, length: int, more: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
        # The limits that the client is given, as the API says them to an account of such limits.
        "ratelimit-remaining: 59999999\r\nratelimit-reset: 1\r\nServer: bench\r\n"
        f"Date: Mon, 05 Jan 2026 10:00:00 GMT\r\nVary: Cookie, origin\r\n{more}\r\n"
    ).encode()


def _send(writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK") -> None:
    writer.write(_head(status, len(body)) + body)


async def main() -> None:
    """Serve until the standard input ends."""
    server = Server()
    # The limit lets a whole upload be read without pausing the transport.
    listener = await asyncio.start_server(
        server.serve, "127.0.0.1", 0, backlog=4096, limit=16 * 1024 * 1024
    )
    server.port = listener.sockets[0].getsockname()[1]
    print(server.port, flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    loop: Any = import_module("uvloop" if find_spec("uvloop") else "asyncio")
    loop.run(main())
