"""The server of the streams, by hand, so that the reader is what a benchmark measures.

    python -m benchmarks.stream_server

Prints its port and serves until its standard input ends. ``GET /s/EVENTS/SEGMENT/PAUSE`` is a
stream of so many events, so many in a segment, with a pause in ms after each segment (0 for none).
It opens at once and is silent until ``GET /go``; ``GET /open`` says how many are waiting for that.
``POST /v1/predictions`` answers with a prediction whose stream is at ``input.path``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import cache
from typing import Final

from replicate_async.core.sse import encode

TOKENS: Final = [" the", " quick", " brown", " fox", ",", " jumps", " naïve", "."]
HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hi\n\n"
)
DONE: Final = encode("done", "{}", id="1690212293:0")


@cache
def segment(start: int, end: int) -> bytes:
    """Return the bytes of these events."""
    return b"".join(
        encode("output", TOKENS[at % len(TOKENS)], id=f"1690212292:{at}")
        for at in range(start, end)
    )


class Server(asyncio.Protocol):
    """One connection."""

    waiting: Final[list[Server]] = []
    port = 0

    def __init__(self) -> None:
        self._data = b""
        self._transport: asyncio.WriteTransport
        self._writable = True
        self._behind = False
        self._sent = self._events = self._segment = 0
        self.pause = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        """Wait no more."""
        if self in self.waiting:
            self.waiting.remove(self)

    def data_received(self, data: bytes) -> None:
        """Answer a request; there is one at a time."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"POST"):
            lowered = head.lower()
            length = lowered[lowered.find(b"\r\ncontent-length:") + 17 :].partition(b"\r\n")[0]
            if len(body) < int(length):
                return
            self._answer(b"201 Created", _prediction(body, self.port))
        else:
            self._get(head.split(b" ", 2)[1].decode())
        self._data = b""

    def _get(self, path: str) -> None:
        if path == "/open":
            self._answer(b"200 OK", b"%d" % len(self.waiting))
        elif path == "/go":
            streams = self.waiting.copy()
            self.waiting.clear()
            self._answer(b"200 OK", b"%d" % len(streams))
            loop = asyncio.get_running_loop()
            for at, stream in enumerate(streams):
                # Paced streams come in one after the other, as streams of strangers do.
                loop.call_later(stream.pause * at / len(streams), stream.send)
        else:
            events, self._segment, pause = (int(part) for part in path.split("/")[-3:])
            self._events, self.pause = events, pause / 1000
            self._transport.write(HEAD)
            self.waiting.append(self)

    def _answer(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)

    def send(self) -> None:
        """Send a segment, and come back for the next after all other streams."""
        if self._transport.is_closing():
            return
        if not self._writable:
            self._behind = True
            return
        if self._sent >= self._events:
            self._transport.write(DONE)
            self._transport.close()
            return
        upto = min(self._sent + self._segment, self._events)
        self._transport.write(segment(self._sent, upto))
        self._sent = upto
        loop = asyncio.get_running_loop()
        if self.pause:
            loop.call_later(self.pause, self.send)
        else:
            loop.call_soon(self.send)

    def pause_writing(self) -> None:
        """Wait for the reader."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        if self._behind:
            self._behind = False
            self.send()


def _prediction(body: bytes, port: int) -> bytes:
    origin = f"http://127.0.0.1:{port}"
    asked = json.loads(body)["input"]
    urls = {
        "get": f"{origin}/v1/predictions/p",
        "cancel": f"{origin}/v1/predictions/p/cancel",
        "stream": origin + asked["path"],
    }
    prediction = {
        "id": "p",
        "model": "meta/meta-llama-3-8b-instruct",
        "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
        "input": asked,
        "logs": "",
        "output": None,
        "error": None,
        "status": "starting",
        "created_at": "2026-01-05T10:00:00.123Z",
        "urls": urls,
    }
    return json.dumps(prediction).encode()


async def main() -> None:
    """Serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    Server.port = server.sockets[0].getsockname()[1]
    print(Server.port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
