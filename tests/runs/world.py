"""Waits for the runs of an API in virtual time."""

from __future__ import annotations

import asyncio
from random import Random

from replicate_async import Poll, Prediction
from replicate_async.runs.waiting.tracker import RunTracker
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits
from tests.support.virtual_api import VirtualAPI


class World:
    """An API, and the waits for its runs."""

    def __init__(
        self,
        *,
        whole: bool = False,
        latency: float = 0.05,
        pages: float = 25.0,
        windowed: bool = True,
    ) -> None:
        self.rng = Random(20_261_123)
        self.api = VirtualAPI(whole=whole, latency=latency)
        self.tracker = RunTracker(jitter=self.rng.random, pages_per_second=pages)
        self.waits = PredictionWaits(self.tracker, self.api.source(windowed=windowed))

    async def wait(
        self, run: Prediction | str, *, timeout: float | None = None, poll: Poll | None = None
    ) -> Prediction:
        name = run if isinstance(run, str) else run.id
        last = None if isinstance(run, str) else run
        return await self.waits.wait(name, WaitOptions(timeout=timeout, poll=poll), last=last)

    async def run(self, seconds: float) -> float:
        """Run something to its end; return how long after that it was known."""
        ended = await self.wait(self.api.create(seconds))
        assert (ended.status, ended.output, ended.logs) == ("succeeded", "done", "")
        return asyncio.get_running_loop().time() - self.api.runs[ended.id].ended

    async def keep_running(self, slots: int, seconds: float, shortest: float) -> list[float]:
        """Keep *slots* runs going for so many *seconds*; return the delays of the second half."""
        loop = asyncio.get_running_loop()
        begun, delays = loop.time(), list[float]()

        async def slot() -> None:
            await asyncio.sleep(self.rng.random() * shortest * 1.5)
            while loop.time() < begun + seconds:
                late = await self.run(self.rng.uniform(shortest, shortest * 2))
                if loop.time() > begun + seconds / 2:
                    delays.append(late)
                await asyncio.sleep(self.rng.random() * 0.5)

        async def settle() -> None:
            await asyncio.sleep(seconds / 2)
            self.api.gets.clear()
            self.api.pages.clear()

        await asyncio.gather(settle(), *(slot() for _ in range(slots)))
        return delays
