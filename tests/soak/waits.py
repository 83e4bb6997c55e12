"""10,000 waits at once for runs of 10 to 20 seconds, beside others that ask twice a second each.

    python tests/soak/waits.py [waits] [seconds]

The others are a task each over the same client, and the published clients with 300 waits, each in
an environment of its own as for the benchmarks; more they do not carry.

A server of raw sockets, in a process of its own, makes runs and counts what it is asked; listed
runs have no logs, as in the API's documents, so each needs one request of its own at the end. The
second half of each part is measured, when as many runs begin as end; of the tasks there are 2,000
at most, which two processors can just serve. Prints a JSON line for each part; fails if waiting
takes more than 1.2 requests a run, or half of the ends are seen later than after a second.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import re
import resource
import statistics
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib import import_module
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import parse_qs

ROOT: Final = Path(__file__).parents[2]
SHORTEST: Final = 10.0
MOST_REQUESTS: Final = 1.2
WORST_MEDIAN: Final = 1.0
WORST_LAG: Final = 0.5
RNG: Final = Random(20_261_123)
VERSION: Final = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
REQUEST: Final = re.compile(rb"(GET|POST) /v1/predictions(?:/(\w+))?(?:\?(\S*))? HTTP")

Run = Callable[[float], Awaitable[float]]
"""Creates a run of some seconds, and returns when it ended once that is known."""


class Runs:
    """What the server knows."""

    def __init__(self) -> None:
        self.asked = 0
        self.begun: list[float] = []
        self.ends: list[float] = []

    def view(self, at: int, *, listed: bool) -> dict[str, object]:
        over = time.time() >= self.ends[at]
        created = moment(self.begun[at])
        body: dict[str, object] = {
            "id": f"r{at}",
            "model": "acme/echo",
            "version": VERSION,
            "input": {"seconds": self.ends[at] - self.begun[at]},
            "status": "succeeded" if over else "processing",
            "output": str(self.ends[at]) if over else None,
            "created_at": created,
            "started_at": created,
            "completed_at": moment(self.ends[at]) if over else None,
            "urls": {},
        }
        return body if listed else body | {"logs": ""}

    def page(self, query: str) -> dict[str, object]:
        given = {name: datetime.fromisoformat(text[0]) for name, text in parse_qs(query).items()}
        first, last = 0, len(self.begun)
        if "created_after" in given:
            first = bisect_left(self.begun, given["created_after"].timestamp())
        if "created_before" in given:
            last = bisect_left(self.begun, given["created_before"].timestamp())
        shown = range(last - 1, max(first, last - 100) - 1, -1)
        more = "http://127.0.0.1/v1/predictions?cursor=x" if last - first > 100 else None
        return {"next": more, "results": [self.view(at, listed=True) for at in shown]}


class Connection(asyncio.Protocol):
    """A connection that is kept open."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, blank, body = self.data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not blank or len(body) < (int(length[1]) if length else 0):
            return
        self.data = b""
        found = REQUEST.match(head)
        assert found is not None, head
        answer: object
        if found[1] == b"POST":
            self.runs.begun.append(time.time())
            seconds = json.loads(body)["input"]["seconds"]
            self.runs.ends.append(self.runs.begun[-1] + seconds)
            answer = self.runs.view(len(self.runs.begun) - 1, listed=False)
        else:
            self.runs.asked += 1
            if found[2] is None:
                answer = self.runs.page((found[3] or b"").decode())
            else:
                answer = self.runs.view(int(found[2][1:]), listed=False)
        encoded = json.dumps(answer).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % len(encoded) + encoded)


def moment(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat()


def serve(told: SimpleQueue[int], asked: SimpleQueue[str]) -> None:
    """Serve, and tell how often it was asked for each question."""

    async def main() -> None:
        runs = Runs()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(runs), "127.0.0.1", 0, backlog=4096)
        told.put(server.sockets[0].getsockname()[1])
        while await asyncio.to_thread(asked.get) != "end":
            told.put(runs.asked)

    asyncio.run(main())


class Measured:
    """What the second half of a part came to."""

    def __init__(self) -> None:
        self.on = False
        self.delays: list[float] = []
        self.lags: list[float] = []

    async def watch(self) -> None:
        """Measure by how much the loop is late, until cancelled."""
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            if self.on:
                self.lags.append(time.perf_counter() - due)


def ours(url: str) -> Run:
    """Wait as users do."""
    return _ours(url, lambda client, made: client.predictions.wait(made))


def alone(url: str) -> Run:
    """Ask twice a second."""

    async def wait(client: Any, prediction: Any) -> Any:
        while not prediction.done:
            await asyncio.sleep(0.5)
            prediction = await client.predictions.get(prediction.id)
        return prediction

    return _ours(url, wait)


def _ours(url: str, wait: Callable[[Any, Any], Awaitable[Any]]) -> Run:
    # Here and not above: where the published clients are, this package is not.
    package: Any = import_module("replicate_async")
    client = package.Replicate("token", base_url=url, limits=package.Limits(enabled=False))

    async def run(seconds: float) -> float:
        made = await client.predictions.create(VERSION, {"seconds": seconds})
        return float((await wait(client, made)).output)

    return run


def legacy(url: str) -> Run:
    """Wait with `replicate` 1.0.7."""
    client: Any = import_module("replicate").Client("token", base_url=url)

    async def run(seconds: float) -> float:
        made = await client.predictions.async_create(VERSION, {"seconds": seconds})
        await made.async_wait()
        return float(made.output)

    return run


def beta(url: str, way: str = "") -> Run:
    """Wait with `replicate` 2.0.0b4."""
    package: Any = import_module("replicate")
    http = package.DefaultAioHttpClient() if way else None
    client = package.AsyncReplicate(bearer_token="token", base_url=f"{url}/v1", http_client=http)

    async def run(seconds: float) -> float:
        made = await client.predictions.create(VERSION, input={"seconds": seconds})
        return float((await client.predictions.wait(made.id)).output)

    return run


WAYS: Final[dict[str, tuple[Callable[[str], Run], str | None, int]]] = {
    "one schedule": (ours, None, 1_000_000),
    "a task each, every 0.5 s": (alone, None, 2000),
    "replicate 1.0.7": (legacy, "1.0.7", 300),
    "replicate 2.0.0b4": (beta, "2.0.0b4", 300),
    "replicate 2.0.0b4, aiohttp": (lambda url: beta(url, "aiohttp"), "2.0.0b4-aiohttp", 300),
}
"""The waiters, in which of the benchmarks' environments, and for how many runs at most."""


async def measure(
    connect: Callable[[str], Run], waits: int, seconds: float, port: int, count: Callable[[], int]
) -> dict[str, float]:
    """Keep so many *waits* going, and return their costs."""
    measured = Measured()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 1_000)
    begun = time.perf_counter()
    run = connect(f"http://127.0.0.1:{port}")

    async def slot() -> None:
        await asyncio.sleep(RNG.random() * SHORTEST * 1.5)
        while time.perf_counter() < begun + seconds:
            ended = await run(RNG.uniform(SHORTEST, 2 * SHORTEST))
            if measured.on:
                measured.delays.append(time.time() - ended)

    watch = asyncio.create_task(measured.watch())
    slots = [asyncio.create_task(slot()) for _ in range(waits)]
    await asyncio.sleep(seconds / 2)
    measured.on = True
    asked, cpu = await asyncio.to_thread(count), time.process_time()
    await asyncio.sleep(seconds / 2)
    measured.on = False
    asked, cpu = await asyncio.to_thread(count) - asked, time.process_time() - cpu
    for task in (watch, *slots):
        task.cancel()
    await asyncio.gather(watch, *slots, return_exceptions=True)
    measured.lags.sort()
    runs = len(measured.delays)
    return {
        "ended": runs,
        "requests per run": round(asked / runs, 3),
        "delay in s, median": round(statistics.median(measured.delays), 2),
        "delay in s, 95 %": round(statistics.quantiles(measured.delays, n=20)[-1], 2),
        "CPU per run in ms, with its create": round(cpu / runs * 1000, 2),
        "CPU share": round(cpu / (seconds / 2), 2),
        "loop lag in ms, 99 %": round(measured.lags[len(measured.lags) * 99 // 100] * 1000),
        "worst loop lag in ms": round(measured.lags[-1] * 1000),
        "peak memory in MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def soak(waits: int, seconds: int) -> bool:
    """Measure all ways, print the figures and tell whether ours are good."""
    process: Any = import_module("benchmarks.environments")
    good = True
    for name, (_, environment, most) in WAYS.items():
        command = [process.python_for(environment), __file__, name, str(min(waits, most))]
        done = subprocess.run(
            [*command, str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True
        )
        print(done.stdout, end="", flush=True)
        figures = json.loads(done.stdout)
        if name == "one schedule":
            good = (
                figures["requests per run"] <= MOST_REQUESTS
                and figures["delay in s, median"] < WORST_MEDIAN
                and figures["worst loop lag in ms"] < WORST_LAG * 1000
            )
    return good


def part(name: str, waits: int, seconds: int) -> None:
    """Measure one way in this process, and print its figures."""
    spawn = multiprocessing.get_context("spawn")
    told: SimpleQueue[int] = spawn.SimpleQueue()
    asked: SimpleQueue[str] = spawn.SimpleQueue()
    server = spawn.Process(target=serve, args=(told, asked), daemon=True)
    server.start()
    port = told.get()

    def count() -> int:
        asked.put("count")
        return told.get()

    figures = asyncio.run(measure(WAYS[name][0], waits, seconds, port, count))
    asked.put("end")
    server.join()
    print(json.dumps({"waits": waits, "with": name} | figures), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in WAYS:
        part(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
        sys.exit()
    sys.path.insert(0, str(ROOT))
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(0 if soak(*(arguments + [10_000, 80][len(arguments) :])) else 1)
