"""`replicate_async`, as its users have it, but for limits and pauses that would be waited for."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from msgspec import Raw

from benchmarks.clients.waiting import polls, run_id
from benchmarks.contestants import Client
from benchmarks.limits import HIGH
from benchmarks.usage import Watched, size_of
from replicate_async import FileOutput, Page, Poll, Prediction, Replicate
from replicate_async.runs.waiting.run_api import RunApi
from replicate_async.runs.waiting.tracker import RunTracker
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits
from replicate_async.schemas import PredictionURLs

_POLL = Poll(first=1e-6, starting=1e-6, processing=1e-6)
_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_REF = "meta/meta-llama-3-8b-instruct"


class UnsentPolls:
    """Polls that are not sent: every run is still processing, and no listing shows it."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.count = 0
        # An answer about another run would count as a failed poll, and pause the polls.
        self._runs = {
            id: Prediction(id=id, status="processing", urls=PredictionURLs()) for id in ids
        }

    async def get(self, run_id: str) -> Prediction:
        """Answer at once."""
        self.count += 1
        return self._runs[run_id]

    async def page(self, _after: datetime | None, _before: datetime | None) -> Page[Raw]:
        """Show no run."""
        return Page(results=[])


class Ours:
    """The client of this package."""

    def __init__(self, url: str) -> None:
        self._client = Replicate("r8_benchmark", base_url=url, limits=HIGH)
        self._origin = url.removesuffix("/v1")
        self._listings: dict[int, Replicate] = {}
        self._journals = 0

    async def get(self, id: str) -> None:
        """Ask for a prediction."""
        prediction = await self._client.predictions.get(id)
        assert prediction.id == id

    async def cycle(self) -> None:
        """Create a prediction and wait for it."""
        prediction = await self._client.predictions.create(_VERSION, {"text": "Alice"})
        prediction = await self._client.predictions.wait(prediction.id, poll=_POLL)
        assert prediction.status == "succeeded"

    async def held(self) -> None:
        """Run a model by one held request."""
        output = await self._client.run(_REF, {"text": "Alice"}, wait=True)
        assert output

    async def page(self) -> None:
        """List a page."""
        async for page in self._client.predictions.list().pages():
            assert len(page.results) == 100

    async def pages(self, count: int) -> dict[str, float]:
        """Iterate over the items of so many pages."""
        cpu = time.process_time()
        client = self._listings.get(count)
        if client is None:
            url = f"{self._origin}/pages/{count}/v1"
            client = self._listings[count] = Replicate("r8_benchmark", base_url=url, limits=HIGH)
        items = 0
        async for _ in client.predictions.list():
            items += 1
        assert items == 100 * count
        return {"item": (time.process_time() - cpu) / items * 1e6}

    async def waits(self, count: int, seconds: float, _: float) -> dict[str, float]:
        """Wait for so many runs that never end, each looked at twice a second and a fifth more.

        Up to a fifth is always taken off a pause.
        """
        unsent = UnsentPolls(map(run_id, range(count)))
        api = RunApi("prediction", Prediction, unsent.get, unsent.page, windowed=True)
        waits = PredictionWaits(RunTracker(), api)
        poll = Poll(first=0.5, starting=0.5, processing=0.5)

        async def wait(id: str) -> object:
            return await waits.wait(id, WaitOptions(poll=poll))

        return await polls(wait, lambda: unsent.count, count, seconds)

    async def journaled(self, count: int, path: str) -> dict[str, float]:
        """Run a batch with a journal, a new one each time."""
        self._journals += 1
        return await self.batch(count, f"{path}-{os.getpid()}-{self._journals}")

    async def batch(self, count: int, journal: str = "") -> dict[str, float]:
        """Run a model over so many inputs, 64 at a time."""
        inputs = ({"text": str(at)} for at in range(count))
        done = 0
        begun, cpu = time.perf_counter(), time.process_time()
        batch = self._client.batch(
            _REF, inputs, concurrency=64, poll=_POLL, journal=journal or None
        )
        async with batch as results:
            async for item in results:
                assert item.error is None
                done += 1
        assert done == count
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
        return {"item": cpu / count * 1e6, "items": count / seconds}

    async def upload(self, path: str) -> dict[str, float]:
        """Upload a file."""
        async with Watched() as watched:
            await self._client.files.create(Path(path))
        return watched.figures(size_of(path))

    async def download(self, size: int, path: str) -> dict[str, float]:
        """Save a file of that size at *path*."""
        file = FileOutput(f"{self._origin}/files/{size}").with_client(self._client)
        async with Watched() as watched:
            await file.save(path, overwrite=True)
        assert size_of(path) == size
        return watched.figures(size)


def connect(url: str, way: str = "") -> Client:
    """Return the client, connected to *url*; "tuned" with a collector that looks less often."""
    if way == "tuned":
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 10, 1_000)
    return Ours(url)
