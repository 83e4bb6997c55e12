"""Servers of files, and files that they are asked for."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from replicate_async import FileOutput, Replicate, Retry
from tests.support.fault_server import FaultServer
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Ending, Request

CONTENT: Final = random.Random(7).randbytes(300_000)
_SPAN: Final = re.compile(r"bytes=(\d+)-")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@dataclass
class Host:
    """Delivers *content* by ranges, at most *most* bytes of the body for each connection."""

    content: bytes = CONTENT
    etag: str | None = '"v1"'
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "image/png"),)
    most: int | None = None
    ranges: bool = True
    starts: list[int] = field(default_factory=list[int])

    def __call__(self, request: Request) -> Answer:
        start = 0
        span = _SPAN.fullmatch(request.header("range") or "")
        if span and self.ranges and request.header("if-range") == self.etag:
            start = int(span[1])
        self.starts.append(start)
        headers = self.headers
        if self.etag is not None:
            headers += (("ETag", self.etag),)
        if start and start >= len(self.content):
            headers += (("Content-Range", f"bytes */{len(self.content)}"),)
            return Answer(status=416, headers=headers)
        if start:
            last = len(self.content) - 1
            headers += (("Content-Range", f"bytes {start}-{last}/{len(self.content)}"),)
        answer = Answer(status=206 if start else 200, headers=headers, body=self.content[start:])
        if self.most is None or len(answer.body) <= self.most:
            return answer
        cut = len(answer.head()) + self.most
        return Answer(
            status=answer.status,
            headers=headers,
            body=answer.body,
            cut=cut,
            ending=Ending.CLOSE,
        )


@asynccontextmanager
async def hosted(
    host: Host | None = None, *, path: str = "/out/picture.png"
) -> AsyncGenerator[tuple[FileOutput, FaultServer, Host]]:
    """Serve *host*, and give a file that is there."""
    host = host or Host()
    async with (
        FaultServer(host) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        yield FileOutput(f"{server.origin}{path}").with_client(client), server, host
