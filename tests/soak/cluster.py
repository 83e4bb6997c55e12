"""Batches on a Dask cluster of processes: their rate, and losses of each kind.

    python tests/soak/cluster.py [rate [ITEMS]] [kill | terminate | retire | stop | pause |
        scheduler | restart | add | driver | both] ...

Without arguments, all parts. `rate` runs 5,000 items, or so many, at a limit that takes a minute,
in one process and through 4 workers; it fails below 0.95 of the limit or after one 429. In each
other part, that much of the cluster is lost 10 times, at random moments: workers, the scheduler,
both (`restart`), the driver, and driver, scheduler and workers together (`both`). After a loss of
the driver the same call is made again at once. `stop` stops a worker for 100 s, `pause` the
scheduler for 20 s. A part fails if an item is created twice or lost, if keys, values or files are
others than in one process, or if no result comes for 30 s.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

import distributed

from replicate_async import Limits, Replicate
from replicate_async.integrations.dask import run_on_dask
from replicate_async.local import LocalReplicate, RateLimits, Settings
from tests.integrations.dask_cluster import (
    LOSSES,
    PROGRAM,
    ROOT,
    Processes,
    alone,
    created,
    processes,
    rows,
    seen,
    stop_for,
)
from tests.integrations.dask_program import run
from tests.runs.batch.api import MODEL as ECHO
from tests.runs.batch.api import BatchAPI
from tests.support.replies import problem
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer

ITEMS: Final = 5_000
BURST: Final = 50
WORKERS: Final = 4
LOSSES_OF_A_KIND: Final = 10
ITEMS_BETWEEN: Final = 60
STOPPED: Final = 100.0
"""Seconds for which a worker stands still."""
HANGS: Final = 30.0
"""Seconds without a result that are too many."""

Client: Any = distributed.Client  # it has no types


async def serve(per_minute: int) -> None:
    """Be the API: take creates at a limit until a line is read; then print the counts."""
    left, at, refused = float(2 * BURST), time.monotonic(), 0

    def refuse(_: int) -> Answer | None:
        nonlocal left, at, refused
        now = time.monotonic()
        left, at = min(2.0 * BURST, left + (now - at) * per_minute / 60), now
        if left >= 1:
            left -= 1
            return None
        refused += 1
        return problem(429, "Request was throttled.", retry_after="1")

    api = BatchAPI(seconds=0.5, refuse=refuse)
    async with api.server() as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    times = [made.created_at for made in api.made]
    middle = [at for at in times if times[0] + 5 <= at <= times[-1] - 2]
    made_a_minute = 60 * (len(middle) - 1) / (middle[-1] - middle[0])
    measured = {
        "share of the limit": round(made_a_minute / per_minute, 3),
        "429": refused,
        "made": len(api.made),
        "twice": len(api.twice()),
    }
    print(json.dumps(measured))


async def small(row: dict[str, int]) -> dict[str, int]:
    """Make an input."""
    return {"n": row["id"]}


async def value(result: Any) -> Any:
    """Make a value."""
    return [result.key, result.output]


async def rate(items: int, *, on_dask: bool) -> dict[str, Any]:
    """Run *items* at as many a minute, on a cluster or in this process alone."""
    command = (sys.executable, __file__, "serve", str(items))
    server = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert server.stdout is not None
    url = (await server.stdout.readline()).decode().strip()
    limits = Limits(creates=items, burst=BURST)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"journal": f"{folder}/run.db"}
        async with Replicate(TOKEN, base_url=url, limits=limits) as client:
            if on_dask:
                cluster = Processes({"REPLICATE_API_TOKEN": TOKEN, "REPLICATE_BASE_URL": url})
                try:
                    await cluster.start(WORKERS)
                    async with Client(cluster.address, asynchronous=True, timeout=120) as dask:
                        await dask.wait_for_workers(WORKERS)
                        batch: Any = run_on_dask(
                            client, ECHO, rows(items), prepare=small, finish=value, **options
                        )
                        cpu = await _measured(batch)
                finally:
                    await cluster.close()
            else:
                batch = client.batch(ECHO, rows(items), prepare=small, finish=value, **options)
                cpu = await _measured(batch)
    said, _ = await server.communicate(b"\n")
    return {
        "CPU ms an item in the driver": round(1000 * cpu / items, 2),
        **json.loads(said),
    }


async def _measured(batch: Any) -> float:
    before = time.process_time()
    async for result in batch:
        result.unwrap()
    return time.process_time() - before


class Gap:
    """The longest time without a result in which there were a driver, a scheduler and workers."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: float | None = None

    def start(self) -> None:
        """Count from now on."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """Do not count until `start`."""
        self._last = None

    def end(self) -> None:
        """Record that a result came, or that the batch ended."""
        if self._last is not None:
            now = time.monotonic()
            self.seconds, self._last = max(self.seconds, now - self._last), now


async def lose(kind: str) -> dict[str, Any]:
    """Run a batch in which *kind* is lost again and again."""
    losses = 1 if kind == "stop" else LOSSES_OF_A_KIND
    items = ITEMS_BETWEEN * (LOSSES_OF_A_KIND + 1)
    settings = Settings(rate_limits=RateLimits.off())
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            LocalReplicate(api_token=TOKEN, settings=settings) as server,
            processes(server) as cluster,
        ):
            if kind in {"driver", "both"}:
                found, gap = await _lose_drivers(kind, server, cluster, folder, items)
            else:
                found, gap = await _lose_of_cluster(kind, losses, server, cluster, folder, items)
            made = await created(server)
            expected = await alone(server, folder / "alone", items)
        files, own = (
            {path.name for path in (folder / each).iterdir()} for each in ("files", "alone")
        )
    return {
        "items": items,
        "losses": losses,
        "seconds": round(time.monotonic() - began, 1),
        "created_twice": sum(count > 1 for count in made.values()),
        "lost": len(expected.keys() - found.keys()),
        "wrong": sum(found[index] != expected[index] for index in found) + len(files ^ own),
        "longest gap": round(gap.seconds, 1),
    }


async def _lose_of_cluster(
    kind: str,
    losses: int,
    server: LocalReplicate,
    cluster: Processes,
    folder: Path,
    items: int,
) -> tuple[dict[int, Any], Gap]:
    found: dict[int, Any] = {}
    # A worker that stands still does so for three quarters of the batch.
    limits = Limits(creates=items * 45 / STOPPED) if kind == "stop" else Limits(enabled=False)
    async with (
        Client(cluster.address, asynchronous=True, timeout=120) as dask,
        Replicate(server.api_token, base_url=server.url, limits=limits) as client,
    ):
        await dask.wait_for_workers(3)
        dask._timeout = 60  # Dask pauses for up to half of it between attempts to connect

        async def trouble() -> None:
            for number in range(losses):
                after = ITEMS_BETWEEN * number + random.randrange(ITEMS_BETWEEN)
                while len(found) < after:  # noqa: ASYNC110 - it signals nothing
                    await asyncio.sleep(0.05)
                if kind == "stop":
                    await stop_for(STOPPED, cluster)
                elif kind in {"scheduler", "restart"}:
                    gap.stop()
                    await LOSSES[kind](cluster, dask)
                    await cluster.up()
                    gap.start()
                else:
                    await LOSSES[kind](cluster, dask)

        gap = Gap()
        gap.start()
        troubling = asyncio.create_task(trouble())
        async for result in run(client, folder, items):
            gap.end()
            found[result.index] = seen(result)
        gap.end()
        await troubling
    return found, gap


async def _lose_drivers(
    kind: str, server: LocalReplicate, cluster: Processes, folder: Path, items: int
) -> tuple[dict[int, Any], Gap]:
    command = (sys.executable, str(PROGRAM), cluster.address, str(folder), str(items))
    environment = {**cluster.env, "REPLICATE_BASE_URL": server.url}
    known: set[int] = set()
    found: dict[int, Any] = {}
    gap = Gap()
    for number in range(LOSSES_OF_A_KIND + 1):
        driver = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, cwd=ROOT, env=environment
        )
        assert driver.stdout is not None
        is_last = number == LOSSES_OF_A_KIND
        enough = len(known) + random.randrange(ITEMS_BETWEEN)
        found.clear()
        await driver.stdout.readline()  # it has begun
        await cluster.up()
        gap.start()
        while is_last or len(known) < enough:
            line = await driver.stdout.readline()
            gap.end()
            if not line:
                break
            index, outcome = json.loads(line)
            known.add(index)
            found[index] = outcome
        if not is_last:
            await asyncio.sleep(random.uniform(0, 0.5))
            gap.stop()
            driver.kill()
            if kind == "both":
                await cluster.restart()
        await driver.communicate()
    return found, gap


def main(parts: list[str]) -> int:
    """Print the figures, and fail when one is not good enough."""
    failed = 0
    items = next((int(part) for part in parts if part.isdecimal()), ITEMS)
    if not parts or "rate" in parts:
        alone = asyncio.run(rate(items, on_dask=False))
        print(
            json.dumps({"soak": "cluster", "way": "one process", "items": items, **alone}),
            flush=True,
        )
        found = asyncio.run(rate(items, on_dask=True))
        print(json.dumps({"soak": "cluster", "way": "Dask", "items": items, **found}), flush=True)
        failed |= found["share of the limit"] < 0.95 or found["429"] or found["twice"]
    for kind in (*LOSSES, "driver", "both"):
        if not parts or kind in parts:
            found = asyncio.run(lose(kind))
            print(json.dumps({"soak": "cluster", "loss": kind, **found}), flush=True)
            failed |= found["created_twice"] or found["lost"] or found["wrong"]
            failed |= found["longest gap"] > HANGS
    return int(bool(failed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2])))
    else:
        sys.exit(main(sys.argv[1:]))
