"""What is measured: each case makes so many units of work and returns the CPU that they took."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.request import urlopen

Measure = Callable[[Any, str, int], Awaitable[float]]
"""Takes a client, the server's URL and the number of units; returns seconds of CPU, or bytes."""

MEGABYTE: Final = 1_000_000
LONGEST: Final = 0.5
"""Seconds of CPU after which a slow client makes no further calls."""
SHARED: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder in memory, so that no disk is measured; None for the usual folder."""


class Case(NamedTuple):
    """A row of the table."""

    title: str
    operation: str
    """The method of a client that it needs, see `benchmarks.clients`."""
    measure: Measure
    units: int
    values: int = 3
    """Values of one process, after one more to warm up; a single value has none before it."""
    unit: str = "second"


async def calls(client: Any, _url: str, units: int, *, name: str, in_flight: int) -> float:
    """Make calls, so many in flight."""
    operation: Callable[[], Awaitable[None]] = getattr(client, name)
    await asyncio.gather(*(operation() for _ in range(in_flight)))  # opens the connections
    gc.collect()
    done, began = 0, time.process_time()

    async def work() -> None:
        nonlocal done
        while done < units and time.process_time() - began < LONGEST:
            done += 1
            await operation()

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return (time.process_time() - began) * units / done


async def pages(client: Any, _url: str, units: int) -> float:
    """List predictions, 100 a page."""
    began = time.process_time()
    for _ in range(units // 100):
        await client.page()
    return time.process_time() - began


async def one_stream(client: Any, url: str, units: int, *, name: str) -> float:
    """Read the events of a single stream, 64 a segment, as fast as they come."""
    return await _streams(getattr(client, name), url, 1, units, "64/0")


async def slow_streams(client: Any, url: str, units: int, *, name: str) -> float:
    """Read 100 streams with an event every 50 ms."""
    return await _streams(getattr(client, name), url, 100, units // 100, "1/50")


async def many_streams(client: Any, url: str, units: int) -> float:
    """Read 1,000 streams, 64 events a segment, as fast as they come."""
    return await _streams(client.read, url, 1000, units // 1000, "64/0")


async def open_streams(client: Any, url: str, units: int) -> float:
    """Return the bytes by which the resident memory grows, with streams open and silent."""
    await one_stream(client, url, 1, name="read")
    gc.collect()
    before = _resident()
    tasks = await _opened(client.read, url, units, "/0/1/0")
    grown = _resident() - before
    await _ask(url, "go")
    await asyncio.gather(*tasks)
    return float(grown)


async def parse(client: Any, _url: str, units: int, *, per_chunk: int) -> float:
    """Parse the bytes of events, so many in a chunk."""
    tokens = (" the", " quick", " brown", " fox", ",", " jumps", " naïve", ".")
    events = [
        f"event: output\nid: 1690212292:{at}\ndata: {tokens[at % 8]}\n\n".encode()
        for at in range(units)
    ]
    chunks = [b"".join(events[at : at + per_chunk]) for at in range(0, units, per_chunk)]
    began = time.process_time()
    count = client.parse(chunks)
    took = time.process_time() - began
    assert count == units
    return took


async def files(client: Any, _url: str, units: int, *, name: str) -> float:
    """Upload or download a file of so many megabytes."""
    with tempfile.TemporaryDirectory(dir=SHARED) as folder:
        path, size = Path(folder) / "file", units * MEGABYTE
        if name == "upload":
            path.write_bytes(bytes(size))
        began = time.process_time()
        await (client.upload(str(path)) if name == "upload" else client.download(size, str(path)))
        took = time.process_time() - began
        assert path.stat().st_size == size
        return took


async def _streams(
    read: Callable[[str], Awaitable[int]], url: str, streams: int, events: int, pace: str
) -> float:
    tasks = await _opened(read, url, streams, f"/{events}/{pace}")
    gc.collect()
    began = time.process_time()
    await _ask(url, "go")
    counts = await asyncio.gather(*tasks)
    took = time.process_time() - began
    assert set(counts) == {events}, counts
    return took


async def _opened(
    read: Callable[[str], Awaitable[int]], url: str, streams: int, path: str
) -> list[asyncio.Future[int]]:
    """Return readers of so many streams, once all of them are open."""
    tasks: list[asyncio.Future[int]] = []
    for at in range(streams):
        tasks.append(asyncio.ensure_future(read(f"/s/{os.getpid()}{path}")))
        if at % 50 == 49:
            await asyncio.sleep(0.01)
    while await _ask(url, "open") < streams:
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)  # the heads of the answers are read
    return tasks


async def _ask(url: str, place: str) -> int:
    """Return the number that the server has at a path, on a connection outside of the client."""

    def ask() -> int:
        with urlopen(f"{url}/{place}/{os.getpid()}") as response:
            return int(response.read())

    return await asyncio.to_thread(ask)


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


CASES: Final = {
    "get": Case(
        "`predictions.get`, 16 in flight", "get", partial(calls, name="get", in_flight=16), 2000
    ),
    "get-256": Case(
        "`predictions.get`, 256 in flight", "get", partial(calls, name="get", in_flight=256), 2000
    ),
    "wait": Case(
        "create, then poll 3 times", "cycle", partial(calls, name="cycle", in_flight=16), 400
    ),
    "list": Case("a prediction of a listing", "page", pages, 4000),
    "stream": Case(
        "an event of one stream, 64 a segment", "read", partial(one_stream, name="read"), 50_000
    ),
    "streams": Case("an event of 1,000 streams", "read", many_streams, 256_000, values=1),
    "events": Case("an event that comes alone", "read", partial(slow_streams, name="read"), 2000),
    "relay": Case(
        "an event to a browser, 64 a segment", "relay", partial(one_stream, name="relay"), 50_000
    ),
    "relays": Case(
        "an event to a browser that comes alone", "relay", partial(slow_streams, name="relay"), 2000
    ),
    "parse": Case("parsing an event, 1 a chunk", "parse", partial(parse, per_chunk=1), 8192),
    "parse-64": Case("parsing an event, 64 a chunk", "parse", partial(parse, per_chunk=64), 8192),
    "memory": Case(
        "memory of an open stream, 1,000 open", "read", open_streams, 1000, values=1, unit="byte"
    ),
    "upload": Case("uploading a MB of 100", "upload", partial(files, name="upload"), 100),
    "download": Case("downloading a MB of 100", "download", partial(files, name="download"), 100),
}
