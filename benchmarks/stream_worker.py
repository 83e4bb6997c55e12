"""A reader of streams in a process of its own, that does what it is told and says what it cost.

    python -m benchmarks.stream_worker READER WAY LOOP PORT

A question is how many streams to open, of how many events, in segments of how many, and with what
pause between them. The answer has the bytes of memory that each stream takes while it is open and
silent, which only a process that has read nothing else can tell, and from when all were open, the
events a second and the microseconds of this process's CPU for each. With no events, the memory is
all, and the process ends. The first line of output says that it is ready.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.worker import run

Read = Callable[[str], Awaitable[int | None]]
"""Reads the stream at a path to its end, and returns how many parts of output there were."""


async def _ask(port: int, path: str) -> int:
    """Return the number that the server has there; by hand, as it is no part of the reader."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    number = int(await reader.read(16))
    writer.close()
    return number


async def _open(read: Read, port: int, streams: int, path: str) -> list[asyncio.Future[int | None]]:
    """Return that many readers, once all are waiting for the first event."""
    tasks: list[asyncio.Future[int | None]] = []
    for at in range(streams):
        tasks.append(asyncio.ensure_future(read(path)))
        if at % 50 == 49:
            await asyncio.sleep(0.01)
    while await _ask(port, "/open") < streams:
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.05)
    spent = 0.0
    while time.process_time() - spent > 0.01:
        spent = time.process_time()
        await asyncio.sleep(0.05)
    return tasks


async def _measure(
    read: Read, port: int, streams: int, events: int, segment: int, pause: int
) -> tuple[float, float, float]:
    """Return the events a second, the CPU of each in microseconds, and the bytes of a stream."""
    gc.collect()
    before = _resident()
    tasks = await _open(read, port, streams, f"/s/{events}/{segment}/{pause}")
    size = (_resident() - before) / streams
    if not events:
        return 0.0, 0.0, size
    gc.collect()
    start, cpu = time.perf_counter(), time.process_time()
    await _ask(port, "/go")
    counts = await asyncio.gather(*tasks)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    if any(count not in {events, None} for count in counts):
        raise AssertionError(f"read {set(counts)} events and not {events}")
    return events * streams / wall, cpu / (events * streams) * 1e6, size


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def main(name: str, way: str, port: int) -> None:
    """Obey until the input ends."""
    module: Any = import_module(f"benchmarks.readers.{name}")
    read: Read = module.connect(f"http://127.0.0.1:{port}", way)
    await _measure(read, port, 1, 1, 1, 0)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        question: dict[str, int] = json.loads(line)
        answer: object
        try:
            speed, cpu, size = await _measure(read, port, **question)
            answer = {"speed": speed, "cpu": cpu, "size": size}
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), flush=True)
        if not question["events"]:
            break
    # As a program at its end would: nobody waits for connections to close.
    os._exit(0)


if __name__ == "__main__":
    reader, way, loop, port = sys.argv[1:]
    run(main(reader, way, int(port)), loop)
