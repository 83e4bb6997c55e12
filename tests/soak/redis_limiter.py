"""A batch behind a shared limiter whose Redis is far away, out, slow and restarted.

600 creates a minute, 300 ms to Redis and back, in turn: Redis answers; it is silent for 60 s; it
answers; it is killed and started again 10 s later without its state. Two numbers set the seconds of
each part with Redis (60), and of the silence (60). Prints a JSON line for each part. Fails if an
item fails or is created twice; if creates leave, but for those of one round trip, while Redis does
not answer; or if their rate is 5 % off the limit while it does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from replicate_async import Limits
from replicate_async.integrations.redis import RedisLimiter
from tests.runs.batch.api import MODEL, BatchAPI, client_of, item
from tests.support.fault_proxy import FaultProxy, Latency
from tests.support.redis_server import PROGRAM, RedisServer

PER_MINUTE: Final = 600
ONE_WAY: Final = 0.15
SETTLED: Final = 6.0
"""Seconds of each part that are left out: until connections are open, and permits used up."""
DOWN: Final = 10.0


async def main(answering: float, silent: float) -> int:
    api = BatchAPI(seconds=5.0)
    marks: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as redis:
        way = (Latency(ONE_WAY),)
        async with (
            api.server() as server,
            FaultProxy(redis.port, upstream=way, downstream=way) as proxy,
            RedisLimiter(
                f"redis://127.0.0.1:{proxy.port}", limits=Limits(creates=PER_MINUTE, burst=1)
            ) as limiter,
            client_of(server.url) as plain,
        ):
            client = plain.with_options(limiter=limiter)
            number = int((3 * answering + 10) * PER_MINUTE / 60)
            batch = asyncio.create_task(run(client, number, f"{folder}/batch.db"))

            def mark(name: str) -> None:
                marks.append((name, time.time()))

            mark("answering")
            await asyncio.sleep(answering)
            mark("silent")
            redis.freeze()
            await asyncio.sleep(silent)
            redis.thaw()
            mark("answering again")
            await asyncio.sleep(answering)
            mark("killed")
            redis.kill()
            await asyncio.sleep(DOWN)
            redis.start()
            mark("state lost")
            await asyncio.sleep(answering)
            mark("end")
            failed = await batch
    return report(api, marks, failed, number)


async def run(client: Any, number: int, journal: str) -> list[str]:
    """Run the batch; return the errors of its items."""
    results = [
        result
        async for result in client.batch(MODEL, (item(n) for n in range(number)), journal=journal)
    ]
    assert len(results) == number
    return [str(result.error) for result in results if not result.ok]


def report(api: BatchAPI, marks: list[tuple[str, float]], failed: list[str], number: int) -> int:
    times = [made.created_at for made in api.made]
    bad = bool(failed or api.twice()) or len(times) != number
    for (part, began), (_, ended) in pairwise(marks):
        inside = [at for at in times if began + SETTLED <= at < ended]
        rate = 60 * len(inside) / (ended - began - SETTLED)
        answers = part not in {"silent", "killed"}
        bad |= not 0.95 * PER_MINUTE <= rate <= 1.05 * PER_MINUTE if answers else bool(inside)
        late = [at for at in times if began <= at < began + SETTLED]
        print(
            json.dumps(
                {
                    "soak": "redis limiter",
                    "part": part,
                    "per_minute": round(rate, 1),
                    "in_the_first_seconds": len(late),
                }
            ),
            flush=True,
        )
    outcome = {"items": number, "failed": len(failed), "created_twice": len(api.twice())}
    print(json.dumps({"soak": "redis limiter", **outcome, "errors": failed[:3]}), flush=True)
    return int(bad)


if __name__ == "__main__":
    if PROGRAM is None:
        print("redis limiter: skipped, there is no redis-server")
        sys.exit(0)
    answering, silent = (float(argument) for argument in sys.argv[1:] or (60, 60))
    sys.exit(asyncio.run(main(answering, silent)))
