"""10,000 streams at once over connections that break, each of which must be exact.

    python tests/soak/streams.py [streams] [tokens]

A server of raw sockets, in a process of its own, resets one event in a hundred at a random byte,
half of them after a flush, and repeats one or two events on three resumes in ten. Prints a JSON
line with what was lost, repeated and out of order, and what it took; fails if anything was.

The garbage collector looks less often than by default, as it should in any process that holds so
many objects: one full collection takes longer than all else that the loop has to wait for.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import resource
import socket
import struct
import sys
import time
from multiprocessing.queues import SimpleQueue
from random import Random
from typing import Final

import msgspec

from replicate_async import Limits, Prediction, Replicate
from replicate_async.core.sse import encode

PAUSE: Final = 1.0
HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n: hi\n\n"
)
RNG: Final = Random(20_261_123)
WORST_LAG: Final = 0.25
WORST_MEMORY: Final = 300


class Connection(asyncio.Protocol):
    """One stream, sent until its end or its accident."""

    resets = 0
    repeats = 0

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.head = b""
        self.at = 0
        self.number = 0
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.head += data
        if not self.head.endswith(b"\r\n\r\n"):
            return
        lines = self.head.decode().split("\r\n")
        target = lines[0].split(" ")[1]
        self.number = int(target.rpartition("/")[2])
        if "/predictions/" in target:
            self.show()
            return
        for line in lines:
            name, _, value = line.partition(": ")
            if name.lower() == "last-event-id":
                self.resume(int(value.partition(":")[2]) + 1)
        self.transport.write(HEAD)
        self.later(RNG.random() * PAUSE)

    def show(self) -> None:
        """Answer predictions.get."""
        shown: dict[str, object] = {"id": str(self.number), "status": "processing", "urls": {}}
        body = json.dumps(shown).encode()
        kind = b"Content-Type: application/json\r\nConnection: close"
        head = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
        self.transport.write(head + body)
        self.transport.close()

    def resume(self, at: int) -> None:
        self.at = at
        if RNG.random() < 0.3:
            self.at = max(0, at - RNG.randint(1, 2))
            Connection.repeats += at - self.at

    def later(self, seconds: float) -> None:
        self.timer = asyncio.get_running_loop().call_later(seconds, self.send)

    def send(self) -> None:
        if self.at == self.tokens:
            self.transport.write(encode("done", "{}", id=f"{self.number}:{self.at}"))
            return
        event = encode("output", f" {self.number}.{self.at}", id=f"{self.number}:{self.at}")
        self.at += 1
        if RNG.random() >= 0.01:
            self.transport.write(event)
            self.later(PAUSE * (0.5 + RNG.random()))
            return
        Connection.resets += 1
        self.transport.write(event[: RNG.randrange(len(event) + 1)])
        if RNG.random() < 0.5:
            self.timer = asyncio.get_running_loop().call_later(0.02, self.reset)
        else:
            self.reset()

    def reset(self) -> None:
        peer: socket.socket = self.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def serve(tokens: int, told: SimpleQueue[int], asked: SimpleQueue[int]) -> None:
    """Serve until the number of accidents is asked for."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(tokens), "127.0.0.1", 0, backlog=4096)
        told.put(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(asked.get)
        told.put(Connection.resets)
        told.put(Connection.repeats)

    asyncio.run(main())


class Count:
    """What was wrong, over all streams."""

    def __init__(self) -> None:
        self.lost = self.duplicated = self.reordered = self.failed = 0
        self.worst_lag = 0.0

    def compare(self, number: int, words: list[str], tokens: int) -> None:
        expected = [f" {number}.{at}" for at in range(tokens)]
        self.lost += len(set(expected) - set(words))
        self.duplicated += len(words) - len(set(words))
        self.reordered += words != sorted(words, key=lambda word: int(word.partition(".")[2]))

    async def watch(self) -> None:
        """Measure by how much the loop is late, until cancelled."""
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            self.worst_lag = max(self.worst_lag, time.perf_counter() - due)


async def read(client: Replicate, origin: str, number: int, tokens: int, count: Count) -> None:
    """Read one stream and compare it."""
    urls = {"stream": f"{origin}/v1/streams/{number}"}
    shown = {"id": str(number), "status": "processing", "urls": urls}
    words: list[str] = []
    try:
        async with client.predictions.stream(msgspec.convert(shown, Prediction)) as stream:
            async for word in stream.text():
                words.append(word)  # noqa: PERF401 - those before an error count
    except Exception as error:  # noqa: BLE001 - every stream is to be judged
        count.failed += 1
        print(f"{number}: {type(error).__name__}: {error}", file=sys.stderr)
    count.compare(number, words, tokens)


async def main(streams: int, tokens: int, port: int) -> Count:
    """Read all streams together."""
    count = Count()
    origin = f"http://127.0.0.1:{port}"
    gc.set_threshold(20_000, 10, 1_000)
    async with Replicate("token", base_url=origin, limits=Limits(enabled=False)) as client:
        watch = asyncio.create_task(count.watch())
        async with asyncio.TaskGroup() as group:
            for number in range(streams):
                group.create_task(read(client, origin, number, tokens, count))
        watch.cancel()
    return count


def soak(streams: int, tokens: int) -> bool:
    """Run both processes, print the figures and tell whether they are good."""
    spawn = multiprocessing.get_context("spawn")
    told: SimpleQueue[int] = spawn.SimpleQueue()
    asked: SimpleQueue[int] = spawn.SimpleQueue()
    server = spawn.Process(target=serve, args=(tokens, told, asked), daemon=True)
    server.start()
    port = told.get()
    start = time.perf_counter()
    count = asyncio.run(main(streams, tokens, port))
    seconds = time.perf_counter() - start
    asked.put(1)
    resets, repeats = told.get(), told.get()
    server.join()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {
        "streams": streams,
        "tokens": streams * tokens,
        "lost": count.lost,
        "duplicated": count.duplicated,
        "reordered": count.reordered,
        "failed": count.failed,
        "resets": resets,
        "repeated by the server": repeats,
        "seconds": round(seconds, 1),
        "peak memory in MiB": round(memory),
        "worst loop lag in ms": round(count.worst_lag * 1000),
    }
    print(json.dumps(figures))
    exact = not (count.lost or count.duplicated or count.reordered or count.failed)
    return exact and memory < WORST_MEMORY and count.worst_lag < WORST_LAG


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(0 if soak(*(arguments + [10_000, 20][len(arguments) :])) else 1)
