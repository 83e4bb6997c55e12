"""One of several processes that share a limit: takes permits for some seconds, prints when."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from replicate_async import Limits
from replicate_async.integrations.redis import RedisLimiter


async def main(url: str, per_minute: float, begin: float, seconds: float, tasks: int) -> None:
    granted: list[float] = []
    async with RedisLimiter(url, limits=Limits(creates=per_minute, burst=1)) as limiter:

        async def work() -> None:
            while True:
                await limiter.acquire("create")
                granted.append(time.time())

        await asyncio.sleep(max(0.0, begin - time.time()))
        working = [asyncio.create_task(work()) for _ in range(tasks)]
        await asyncio.sleep(seconds)
        for task in working:
            task.cancel()
        await asyncio.wait(working)
    print(json.dumps(granted))


if __name__ == "__main__":
    url, *numbers = sys.argv[1:]
    per_minute, begin, seconds, tasks = map(float, numbers)
    asyncio.run(main(url, per_minute, begin, seconds, int(tasks)))
