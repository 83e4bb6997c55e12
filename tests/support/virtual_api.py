"""An API of many runs in virtual time, which counts its requests."""

from __future__ import annotations

import asyncio
import bisect
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import msgspec

from replicate_async import Prediction
from replicate_async.runs.waiting.listed_run import RawPage
from replicate_async.runs.waiting.run_api import RunApi

EPOCH: Final = 1_790_000_000.0
"""What the API's clock shows when the loop's shows nothing."""


@dataclass
class Times:
    """When a run was created, began and ended, on the loop's clock."""

    created: float
    begun: float
    ended: float


class VirtualAPI:
    """Runs that end when they were told to.

    *latency* is what an answer takes; *whole* says that listed runs have logs, as none have in the
    API's documents.
    """

    def __init__(self, *, latency: float = 0.05, whole: bool = False) -> None:
        self.latency = latency
        self.whole = whole
        self.runs: dict[str, Times] = {}
        self.gets: list[str] = []
        self.pages: list[tuple[datetime | None, datetime | None]] = []
        self.listing_fails = False
        self.unlisted: set[str] = set()
        self.gone: set[str] = set()
        self.asking = 0
        self._order: list[tuple[float, str]] = []

    @property
    def requests(self) -> int:
        return len(self.gets) + len(self.pages)

    def source(self, *, windowed: bool = True) -> RunApi[Prediction]:
        return RunApi("prediction", Prediction, self.get, self.page, windowed=windowed)

    def create(self, seconds: float, *, queue: float = 0.3) -> Prediction:
        """Create a run that takes so many *seconds* after its time in the *queue*."""
        now = asyncio.get_running_loop().time()
        name = f"r{len(self.runs):06d}"
        self.runs[name] = Times(now, now + queue, now + queue + seconds)
        bisect.insort(self._order, (now, name))
        return msgspec.convert(self.view(name), Prediction)

    def view(self, name: str, *, listed: bool = False) -> dict[str, object]:
        now, times = asyncio.get_running_loop().time(), self.runs[name]
        begun, ended = now >= times.begun, now >= times.ended
        status = "succeeded" if ended else "processing" if begun else "starting"
        body: dict[str, object] = {
            "id": name,
            "model": "acme/echo",
            "version": "v",
            "status": status,
            "created_at": moment(times.created),
            "started_at": moment(times.begun) if begun else None,
            "completed_at": moment(times.ended) if ended else None,
            "input": {},
            "output": "done" if ended else None,
            "urls": {},
        }
        return body if listed and not self.whole else body | {"logs": ""}

    async def get(self, name: str) -> Prediction:
        self.gets.append(name)
        await self._answer()
        if name in self.gone:
            raise KeyError(name)
        return msgspec.convert(self.view(name), Prediction)

    async def page(self, after: datetime | None, before: datetime | None) -> RawPage:
        self.pages.append((after, before))
        await self._answer()
        if self.listing_fails:
            raise OSError("no listing today")
        oldest = 0.0 if after is None else after.timestamp() - EPOCH
        newest = len(self._order)
        if before is not None:
            newest = bisect.bisect_left(self._order, (before.timestamp() - EPOCH, ""))
        first = bisect.bisect_left(self._order, (oldest, ""))
        inside = (self._order[at][1] for at in range(newest - 1, first - 1, -1))
        listed = list(islice((name for name in inside if name not in self.unlisted), 101))
        shown = [msgspec.json.encode(self.view(name, listed=True)) for name in listed[:100]]
        more = "https://api.replicate.com/v1/predictions?cursor=x" if len(listed) > 100 else None
        return RawPage(next=more, results=[msgspec.Raw(body) for body in shown])

    async def _answer(self) -> None:
        self.asking += 1
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.asking -= 1


def moment(time: float) -> datetime:
    """Return the API's time when the loop's clock shows *time*."""
    return datetime.fromtimestamp(EPOCH + time, UTC)
