"""Batches on a Dask cluster of processes: their rate, and 10 losses of each kind.

With `rate` or names of losses (kill, terminate, retire, stop, restart, add, driver) as arguments,
those parts alone. `rate` runs 5,000 items through 4 workers at a limit that takes a minute, and
fails below 0.95 of it or after one 429; a number after it is so many items in place of 5,000, for a
machine that is busy. Each kind of loss happens 10 times in a batch, which fails
if an item is created twice or lost, or if its value is another than in one process.
"""

from __future__ import annotations

import asyncio
import json
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
    MODEL,
    PROGRAM,
    ROOT,
    Processes,
    created,
    finish,
    prepare,
    processes,
    rows,
)
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


async def lose(kind: str) -> dict[str, Any]:
    """Run a batch in which *kind* is lost again and again."""
    items = ITEMS_BETWEEN * (LOSSES_OF_A_KIND + 1)
    settings = Settings(rate_limits=RateLimits.off())
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            LocalReplicate(api_token=TOKEN, settings=settings) as server,
            processes(server) as cluster,
        ):
            journal = str(Path(folder) / "run.db")
            if kind == "driver":
                values = await _lose_drivers(server, cluster, journal, items)
            else:
                values = await _lose_of_cluster(kind, server, cluster, journal, items)
            made = await created(server)
    expected = {number: str(2 * number) for number in range(items)}
    return {
        "items": items,
        "losses": LOSSES_OF_A_KIND,
        "seconds": round(time.monotonic() - began, 1),
        "created_twice": sum(count > 1 for count in made.values()),
        "lost": len(expected.keys() - values.keys()),
        "wrong": sum(values[index][1] != expected[index] for index in values),
    }


async def _lose_of_cluster(
    kind: str, server: LocalReplicate, cluster: Processes, journal: str, items: int
) -> dict[int, Any]:
    values: dict[int, Any] = {}
    async with (
        Client(cluster.address, asynchronous=True, timeout=120) as dask,
        Replicate(server.api_token, base_url=server.url, limits=Limits(enabled=False)) as client,
    ):
        await dask.wait_for_workers(3)
        dask._timeout = 60  # Dask pauses for up to half of it between attempts to connect
        batch = run_on_dask(
            client,
            MODEL,
            rows(items),
            prepare=prepare,
            finish=finish,
            journal=journal,
            concurrency=20,
        )

        async def trouble() -> None:
            for number in range(1, LOSSES_OF_A_KIND + 1):
                while len(values) < number * ITEMS_BETWEEN:  # noqa: ASYNC110 - it signals nothing
                    await asyncio.sleep(0.05)
                await LOSSES[kind](cluster, dask)

        troubling = asyncio.create_task(trouble())
        async for result in batch:
            result.unwrap()
            values[result.index] = result.value
        await troubling
    return values


async def _lose_drivers(
    server: LocalReplicate, cluster: Processes, journal: str, items: int
) -> dict[int, Any]:
    command = (sys.executable, str(PROGRAM), cluster.address, journal, str(items))
    environment = {**cluster.env, "REPLICATE_BASE_URL": server.url}
    said = b""
    for number in range(1, LOSSES_OF_A_KIND + 2):
        driver = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, cwd=ROOT, env=environment
        )
        if number <= LOSSES_OF_A_KIND:
            while sum((await created(server)).values()) < number * ITEMS_BETWEEN:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.1)
            driver.kill()
        said, _ = await driver.communicate()
    return dict(json.loads(said))


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
    for kind in (*LOSSES, "driver"):
        if not parts or kind in parts:
            found = asyncio.run(lose(kind))
            print(json.dumps({"soak": "cluster", "loss": kind, **found}), flush=True)
            failed |= found["created_twice"] or found["lost"] or found["wrong"]
    return int(bool(failed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2])))
    else:
        sys.exit(main(sys.argv[1:]))
