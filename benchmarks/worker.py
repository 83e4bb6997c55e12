"""A client in a process of its own, that does what it is told and says what it cost.

    python -m benchmarks.worker CLIENT URL

A line of input names an operation ("get", "cycle", "page"), how many are in flight and how many to
make; the line of output has the microseconds of this process's CPU that each took.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from importlib import import_module
from typing import Any

from benchmarks.contestant import Contestant

_ID = "gm3qorzdhgbfurvjtvhg6dckhu"


async def _measure(client: Contestant, operation: str, in_flight: int, calls: int) -> float:
    async def work(count: int) -> None:
        for _ in range(count):
            if operation == "get":
                await client.get(_ID)
            elif operation == "cycle":
                await client.cycle()
            else:
                await client.page()

    share = max(1, calls // in_flight)
    # Connections are made, and caches filled, before the clock starts.
    await asyncio.gather(*(work(1) for _ in range(in_flight)))
    gc.collect()
    before = time.process_time()
    await asyncio.gather(*(work(share) for _ in range(in_flight)))
    return (time.process_time() - before) / (share * in_flight) * 1e6


async def main(name: str, url: str) -> None:
    """Obey until the input ends."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})
    module: Any = import_module(f"benchmarks.clients.{name}")
    client: Contestant = module.connect(url)
    while line := await asyncio.to_thread(sys.stdin.readline):
        operation, in_flight, calls = line.split()
        print(await _measure(client, operation, int(in_flight), int(calls)), flush=True)
    # As a program at its end would: nobody waits for connections to close.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
