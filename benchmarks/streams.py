"""Streams over a socket: events a second, CPU and memory, beside aiohttp and httpx-sse.

    python benchmarks/streams.py [rounds]

A server in another process sends the same bytes to each reader: bare aiohttp, which only counts
them, httpx-sse on aiohttp's lines, and our `Stream`. "burst" sends 64 events in a segment as fast
as it can be read, "single" one event at a time, as models do. CPU is the client process's own, and
rounds alternate; each figure is the median of them. One JSON line at the end has them all.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from httpx_sse._decoders import SSEDecoder, SSELineDecoder

from replicate_async import Limits, Prediction, Replicate
from replicate_async.core.sse import encode

TOKENS: Final = [" the", " quick", " brown", " fox", ",", " jumps", " naïve", "."]
HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hi\n\n"
)
DONE_LINE: Final = b"event: done"
DONE: Final = encode("done", "{}", id="1690212293:0")
BURST: Final = 64
SILENT: Final = 5_000
SPAWN: Final = multiprocessing.get_context("spawn")

Reader = Callable[["Bench", str], Awaitable[int | None]]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send what the path says: /v1/streams/{events}/{events a segment}/{pause in ms}."""
    try:
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
        events, segment, pause = (int(part) for part in target.split(b"/")[-3:])
        writer.write(HEAD)
        sent = 0
        while sent < events:
            upto = min(sent + segment, events)
            writer.write(
                b"".join(
                    encode("output", TOKENS[at % len(TOKENS)], id=f"1690212292:{at}")
                    for at in range(sent, upto)
                )
                if segment == 1 or sent == 0 or upto == events
                else _segment(sent, upto)
            )
            sent = upto
            await writer.drain()
            if pause:
                await asyncio.sleep(pause / 1000)
        if events:
            writer.write(DONE)
            await writer.drain()
        await reader.read()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


_SEGMENTS: dict[tuple[int, int], bytes] = {}


def _segment(start: int, end: int) -> bytes:
    key = (start, end)
    if key not in _SEGMENTS:
        _SEGMENTS[key] = b"".join(
            encode("output", TOKENS[at % len(TOKENS)], id=f"1690212292:{at}")
            for at in range(start, end)
        )
    return _SEGMENTS[key]


def serve(port: multiprocessing.SimpleQueue[int]) -> None:
    """Run the server until the process is ended."""

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


class Bench:
    """What every reader is given: a session, a client, and where the server is."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.session = session
        self.client = Replicate("token", base_url=self.origin, limits=Limits(enabled=False))

    def prediction(self, path: str) -> Prediction:
        """Return a running prediction whose stream is at *path*."""
        urls = {"stream": self.origin + path}
        return msgspec.convert({"id": "p", "status": "processing", "urls": urls}, Prediction)


async def bare(bench: Bench, path: str) -> None:
    """Read the bytes with aiohttp, and look for no more than the end."""
    async with bench.session.get(bench.origin + path) as response:
        while DONE_LINE not in await response.content.readany():
            pass


async def httpx_sse(bench: Bench, path: str) -> int:
    """Read with the decoders of httpx-sse on top of aiohttp."""
    lines, decoder, count = SSELineDecoder(), SSEDecoder(), 0
    async with bench.session.get(bench.origin + path) as response:
        while chunk := await response.content.readany():
            for line in lines.decode(chunk.decode(errors="replace")):
                event = decoder.decode(line)
                if event is not None:
                    if event.event == "done":
                        return count
                    count += event.event == "output"
    return count


async def events(bench: Bench, path: str) -> int:
    """Read typed events."""
    count = 0
    async with bench.client.predictions.stream(bench.prediction(path)) as stream:
        async for event in stream:
            count += event.__class__.__name__ == "OutputEvent"
    return count


async def text(bench: Bench, path: str) -> int:
    """Read chunks of text."""
    count = 0
    async with bench.client.predictions.stream(bench.prediction(path)) as stream:
        async for _ in stream.text():
            count += 1
    return count


READERS: Final[dict[str, Reader]] = {
    "aiohttp, bytes": bare,
    "httpx-sse on aiohttp": httpx_sse,
    "Stream, typed": events,
    "Stream, text": text,
}


async def measure(bench: Bench, reader: Reader, path: str, streams: int, each: int) -> list[float]:
    """Return events a second and microseconds of CPU an event."""
    start, cpu = time.perf_counter(), time.process_time()
    counts = await asyncio.gather(*(reader(bench, path) for _ in range(streams)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    if any(count not in {each, None} for count in counts):
        raise AssertionError(f"{reader.__name__} read {set(counts)} events and not {each}")
    return [each * streams / wall, cpu / (each * streams) * 1e6]


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def memory(port: int, name: str, taken: multiprocessing.SimpleQueue[float]) -> None:
    """Put the bytes that an open, silent stream takes, in a process that holds nothing else."""

    async def hold() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            bench = Bench(port, session)
            async with bench.client:
                await READERS[name](bench, "/v1/streams/1/1/0")
                before = resident()
                tasks = [
                    asyncio.ensure_future(READERS[name](bench, "/v1/streams/0/1/0"))
                    for _ in range(SILENT)
                ]
                await asyncio.sleep(SILENT / 500)
                taken.put((resident() - before) / SILENT)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(hold())


CASES: Final[dict[str, tuple[int, int, int, int]]] = {
    # streams, events each, events a segment, pause between segments in ms
    "one stream, burst": (1, 200_000, BURST, 0),
    "1,000 streams, burst": (1_000, 512, BURST, 0),
    "50 streams, single": (50, 400, 1, 5),
}


async def main(port: int, rounds: int) -> None:
    """Measure everything and print it."""
    figures: dict[str, dict[str, list[float]]] = {}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        bench = Bench(port, session)
        async with bench.client:
            for case, (streams, each, segment, pause) in CASES.items():
                path = f"/v1/streams/{each}/{segment}/{pause}"
                for reader in READERS.values():
                    await measure(bench, reader, path, streams, each)
                runs = [
                    [
                        await measure(bench, reader, path, streams, each)
                        for reader in READERS.values()
                    ]
                    for _ in range(rounds)
                ]
                print(case)
                figures[case] = {}
                for at, name in enumerate(READERS):
                    speed, cpu = (statistics.median(run[at][i] for run in runs) for i in (0, 1))
                    figures[case][name] = [round(speed), round(cpu, 2)]
                    print(f"  {name:24} {speed:12,.0f} events/s {cpu:8.2f} µs of CPU an event")
    print(f"{SILENT:,} streams, silent")
    figures["silent"] = {}
    for name in READERS:
        taken: multiprocessing.SimpleQueue[float] = SPAWN.SimpleQueue()
        holder = SPAWN.Process(target=memory, args=(port, name, taken))
        holder.start()
        figures["silent"][name] = [round(await asyncio.to_thread(taken.get))]
        await asyncio.to_thread(holder.join)
        print(f"  {name:24} {figures['silent'][name][0] / 1024:12.1f} KiB a stream")
    print(json.dumps(figures))


if __name__ == "__main__":
    ports: multiprocessing.SimpleQueue[int] = SPAWN.SimpleQueue()
    server = SPAWN.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    asyncio.run(main(ports.get(), int(sys.argv[1]) if len(sys.argv) > 1 else 5))
    server.terminate()
