"""HTTP/1.1 as bytes: requests as a server reads them, answers down to the byte they break at."""

from __future__ import annotations

import asyncio
import enum
import http
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

LIMIT: Final = 64 * 1024 * 1024

Framing = Literal["length", "chunked", "close"]


class Ending(enum.Enum):
    """The end of a connection after the answer was sent."""

    KEEP = "keep"
    CLOSE = "close"
    HALF_CLOSE = "half-close"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, repr=False)
class Request:
    """One request, with the bytes as they came; its repr keeps the token to itself."""

    connection: int
    head: bytes
    raw_body: bytes
    body: bytes

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target}>"

    @property
    def raw(self) -> bytes:
        return self.head + self.raw_body

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        pairs = (line.partition(":") for line in lines)
        return [(name.strip().lower(), value.strip()) for name, _, value in pairs]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)

    def json(self) -> object:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer, and where and how it breaks.

    The bytes are *prelude* (interim responses), the head and the body; *raw* replaces them all.
    *cut* bytes of them are sent, *step* at a time with *pause* seconds between, and *source* after
    them; then the connection is dealt with as *ending* says. *acts* tells whether the server did
    what it was asked for: a refusal does not act.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    framing: Framing = "length"
    prelude: bytes = b""
    raw: bytes | None = None
    cut: int | None = None
    ending: Ending = Ending.KEEP
    step: int | None = None
    pause: float = 0.0
    delay: float = 0.0
    source: Callable[[], Iterator[bytes]] | None = None
    acts: bool = True

    def head(self) -> bytes:
        try:
            reason = http.HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Odd"
        lines = [f"HTTP/1.1 {self.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        bodiless = self.status in {204, 304} or self.status < 200
        if self.framing == "length" and not bodiless:
            lines.append(f"Content-Length: {len(self.body)}")
        elif self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif self.framing == "close":
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def payload(self) -> bytes:
        if self.framing == "chunked":
            return chunked(self.body)
        return self.body

    def wire(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return self.prelude + self.head() + self.payload()

    def sent(self) -> bytes:
        return self.wire()[: self.cut]

    def cut_points(self) -> dict[str, int]:
        """Name the six places where an answer with a body can be cut short."""
        head, whole = len(self.prelude) + len(self.head()), len(self.wire())
        return {
            "before the status line": 0,
            "in the status line": len(self.prelude) + 9,
            "in the headers": head - 12,
            "after the headers": head,
            "in the body": (head + whole) // 2,
            "before the last byte": whole - 1,
        }


def chunked(body: bytes, size: int = 1024) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """Read up to the blank line; empty at the end of the connection."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def read_body(reader: asyncio.StreamReader, head: bytes) -> tuple[bytes, bytes]:
    """Read the body that *head* announces: as it came, and decoded."""
    request = Request(connection=0, head=head, raw_body=b"", body=b"")
    if (request.header("transfer-encoding") or "").lower() == "chunked":
        return await _read_chunks(reader)
    body = await reader.readexactly(int(request.header("content-length") or 0))
    return body, body


async def _read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    raw, body = bytearray(), bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        piece = await reader.readexactly(size + 2)
        raw += line + piece
        if size == 0:
            return bytes(raw), bytes(body)
        body += piece[:-2]
