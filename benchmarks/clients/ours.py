"""`replicate_async`, with rate limits that are never reached and polls without pauses."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.clients import INPUT, TOKEN, VERSION
from replicate_async import FileOutput, Limits, OutputEvent, Poll, Prediction, Replicate, Stream
from replicate_async.core.sse import Parser
from replicate_async.web import to_sse

_POLL = Poll(first=1e-6, starting=1e-6, processing=1e-6)


class Client:
    """The client of this package."""

    def __init__(self, url: str) -> None:
        self._origin = url
        # High and not switched off: counting requests is part of every call.
        limits = Limits(creates=6e7, gets=6e7, others=6e7)
        self.client = Replicate(TOKEN, base_url=f"{url}/v1", limits=limits)

    async def get(self) -> None:
        """Fetch a prediction."""
        assert (await self.client.predictions.get("p")).id == "p"

    async def cycle(self) -> None:
        """Create a prediction and wait for it."""
        made = await self.client.predictions.create(VERSION, INPUT)
        ended = await self.client.predictions.wait(made.id, poll=_POLL)
        assert ended.status == "succeeded"

    async def page(self) -> None:
        """List a page."""
        async for page in self.client.predictions.list().pages():
            assert len(page.results) == 100

    def _stream(self, path: str) -> Stream:
        urls = {"stream": self._origin + path}
        made = {"id": "gm3qorzdhgbfurvjtvhg6dckhu", "status": "processing", "urls": urls}
        return self.client.predictions.stream(msgspec.convert(made, Prediction))

    async def read(self, path: str) -> int:
        """Read typed events."""
        count = 0
        async with self._stream(path) as stream:
            async for event in stream:
                count += isinstance(event, OutputEvent)
        return count

    async def relay(self, path: str) -> int:
        """Encode the stream for a browser."""
        count = 0
        async with self._stream(path) as stream:
            async for piece in to_sse(stream):
                count += piece.count(b"event: output\n")
        return count

    def parse(self, chunks: list[bytes]) -> int:
        """Parse with our own parser."""
        parser = Parser()
        return sum(len(parser.feed(chunk)) for chunk in chunks)

    async def upload(self, path: str) -> None:
        """Upload a file."""
        await self.client.files.create(Path(path))

    async def download(self, size: int, path: str) -> None:
        """Save a file."""
        file = FileOutput(f"{self._origin}/files/{size}").with_client(self.client)
        await file.save(path, overwrite=True)
