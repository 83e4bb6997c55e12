"""A client in a process of its own, that does what it is told and says what it cost.

    python -m benchmarks.worker CLIENT LOOP URL [WAY]

A line of input names an operation, its arguments, how many are in flight and for how many seconds
they are made; the line of output has the calls a second, the microseconds of this process's CPU
that each took, and the milliseconds that half of them and all but a hundredth took at most.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

Operation = Callable[[], Awaitable[dict[str, float] | None]]


async def measure(
    operation: Operation, in_flight: int, seconds: float, *, warm: bool = True
) -> dict[str, float]:
    """Make calls for some time; what an operation itself found out is taken from the last."""
    latencies: list[float] = []
    found: dict[str, float] = {}
    if warm:
        # Connections are made, and caches filled, before the clock starts.
        await asyncio.gather(*(operation() for _ in range(in_flight)))
    gc.collect()
    cpu, start = time.process_time(), time.perf_counter()
    end = start + seconds

    async def work() -> None:
        while (begun := time.perf_counter()) < end:
            found.update(await operation() or {})
            latencies.append(time.perf_counter() - begun)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    latencies.sort()
    return {
        "rate": len(latencies) / wall,
        "cpu": cpu / len(latencies) * 1e6,
        "busy": cpu / wall,
        "p50": _percentile(latencies, 0.5) * 1e3,
        "p99": _percentile(latencies, 0.99) * 1e3,
        **found,
    }


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def main(name: str, url: str, way: str) -> None:
    """Obey until the input ends."""
    module: Any = import_module(f"benchmarks.clients.{name}")
    client: Any = module.connect(url, way) if way else module.connect(url)
    while line := await asyncio.to_thread(sys.stdin.readline):
        question = json.loads(line)
        try:
            operation = partial(getattr(client, question["operation"]), *question["arguments"])
            answer: object = await measure(
                operation, question["in_flight"], question["seconds"], warm=question["warm"]
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), flush=True)
    # As a program at its end would: nobody waits for connections to close.
    os._exit(0)


def run(program: Any, loop: str) -> None:
    """Run the coroutine on the event loop of that name."""
    if loop == "uvloop":
        uvloop: Any = import_module("uvloop")
        uvloop.run(program)
    else:
        asyncio.run(program)


if __name__ == "__main__":
    client, loop, url, *way = sys.argv[1:]
    run(main(client, url, *way or [""]), loop)
