"""Waits of which the requests are left out, so that what remains is the waiting."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable

from benchmarks.usage import resident

_SETTLE = 0.7


def run_id(at: int) -> str:
    """Return the id of a run, by its number."""
    return f"{at:026d}"


async def polls(
    wait: Callable[[str], Awaitable[object]],
    asked: Callable[[], int],
    count: int,
    seconds: float,
) -> dict[str, float]:
    """Begin *count* waits that do not end, and tell what a look costs: *asked* counts them."""
    gc.collect()
    before = resident()
    tasks = [asyncio.ensure_future(wait(run_id(at))) for at in range(count)]
    # So that all have begun, and been asked about once.
    await asyncio.sleep(_SETTLE)
    size = (resident() - before) / count
    looks, cpu = asked(), time.process_time()
    await asyncio.sleep(seconds)
    while asked() == looks:  # noqa: ASYNC110 - a busy machine may have had no time for one
        await asyncio.sleep(0.05)
    cpu, looks = time.process_time() - cpu, asked() - looks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {"poll": cpu / looks * 1e6, "looks": looks / seconds, "wait_size": size}
