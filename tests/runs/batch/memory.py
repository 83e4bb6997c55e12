"""How much memory a long batch takes: `memory.py ITEMS [JOURNAL]`, a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from replicate_async.core.api_clock import ApiClock
from replicate_async.core.hooks import RequestHooks
from replicate_async.refs import parse_version
from replicate_async.runs.batch.api import BatchApi
from replicate_async.runs.batch.batch import Batch
from replicate_async.runs.batch.inputs import open_source
from replicate_async.runs.batch.journal import JournalHeader
from replicate_async.runs.batch.options import BatchOptions, BatchTimeouts
from replicate_async.runs.batch.scheduler import BatchScheduler
from replicate_async.schemas import Prediction, PredictionURLs


def inputs(count: int) -> Iterator[dict[str, object]]:
    for number in range(count):
        yield {"prompt": f"a picture of number {number}", "seed": number}


def resident() -> int:
    """Return the kilobytes of memory that the process has now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError


class Instant:
    """An API without a network, so that a million items take a minute."""

    def __init__(self) -> None:
        self.created = 0

    async def create(self, given: Any, _version: str | None, hooks: RequestHooks) -> Prediction:
        await hooks.begin()
        self.created += 1
        await asyncio.sleep(0)
        return Prediction(
            id=f"p{self.created}",
            status="succeeded",
            input=dict(given),
            output=f"output {self.created}",
            urls=PredictionURLs(),
            created_at=datetime.now(UTC),
        )


async def measure(count: int, journal: str | None) -> dict[str, object]:
    """Run a batch of *count* items, and return what memory it took after the first 5,000."""
    api = Instant()

    async def unused(*_: object) -> Any:
        raise AssertionError

    async def learn_time() -> None:
        """Tell nothing."""

    def no_list(*_: object) -> Any:
        raise AssertionError

    calls = BatchApi(
        create=api.create,
        wait=unused,
        get=unused,
        cancel=unused,
        latest_version=unused,
        learn_time=learn_time,
        pages=no_list,
        clock=ApiClock(),
        output=lambda prediction: prediction.output,
        typed_output=lambda prediction: prediction.output,
        input_schema=unused,
        requests=lambda: api.created,
    )
    options = BatchOptions(
        ref=parse_version("acme/echo"),
        type=None,
        concurrency=None,
        ordered=True,
        journal=journal,
        key=None,
        match="input",
        on_error="collect",
        on_exit="cancel",
        retries=0,
        retry_failed=False,
        save_files=None,
        max_seconds=None,
        max_predictions=None,
        max_cost=None,
        dry_run=False,
        prepare=None,
        finish=None,
        on_progress=None,
        cancel_after=None,
        webhook=None,
        webhook_events_filter=None,
        file_encoding="auto",
        timeout=None,
        queue_timeout=None,
        poll=None,
        timeouts=BatchTimeouts(),
    )
    header = JournalHeader(model="acme/echo")
    before = 0
    began = monotonic()
    seen = 0
    scheduler = BatchScheduler(open_source(inputs(count)), options, header, calls, set())
    async for result in Batch[Any](scheduler):
        assert result.index == seen
        assert result.ok
        seen += 1
        if seen == 5000:
            before = resident()
    return {
        "items": seen,
        "seconds": round(monotonic() - began, 1),
        "grown_kb": resident() - before,
        "resident_kb": resident(),
    }


if __name__ == "__main__":
    journal = sys.argv[2] if len(sys.argv) > 2 else None
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]), journal))))
