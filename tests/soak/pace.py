"""Creates against a server of real sockets that takes ten a second, and an outage.

Prints a JSON line for each part. Fails if a client that knows the limit gets less than 95 % of it
or a single 429 once it is paced; if 500 tasks that know nothing of it get less than 90 % after five
seconds, or one waits three times as long as the middle one; or if 10,000 calls to a service that is
down take more than 100 requests besides their own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from replicate_async import Limits, Replicate
from replicate_async.errors import RateLimitError, ReplicateError
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction, problem
from tests.support.wire import Answer, Request

RATE: Final = 10.0
SETTLED: Final = 5.0
SECONDS: Final = 45.0
TASKS: Final = 500
CALLS: Final = 10_000


class Service:
    """Takes `RATE` creates a second and *burst* at once."""

    def __init__(self, burst: float) -> None:
        self._burst = burst
        self._left = burst
        self._at = self.began = time.monotonic()
        self.taken: list[float] = []
        self.refused: list[float] = []

    def __call__(self, request: Request) -> Answer:
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * RATE)
        self._at = now
        if self._left < 1:
            self.refused.append(now - self.began)
            return problem(429, "Request was throttled.", Retry_After="1")
        self._left -= 1
        self.taken.append(now - self.began)
        return json_answer(prediction(f"http://{request.header('Host')}/v1"), 201)

    def late(self, times: list[float]) -> list[float]:
        """Return those of *times* that were after the first seconds and before the last."""
        return [at for at in times if SETTLED <= at < SECONDS]


async def storm(limits: Limits, burst: float) -> dict[str, object]:
    """Let many tasks create without end, for some time."""
    service = Service(burst)
    waits: list[float] = []
    given_up = 0
    async with (
        FaultServer(service) as server,
        Replicate("r8_x", base_url=server.url, limits=limits) as client,
    ):

        async def work() -> None:
            nonlocal given_up
            while time.monotonic() - service.began < SECONDS:
                begun = time.monotonic()
                try:
                    await client.predictions.create("replicate/hello-world", {"text": "a"})
                except RateLimitError:
                    given_up += 1
                waits.append(time.monotonic() - begun)

        workers = [asyncio.create_task(work()) for _ in range(TASKS)]
        await asyncio.sleep(SECONDS)
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
    taken = len(service.late(service.taken))
    settled = [wait for wait in waits if wait > 0]
    return {
        "share of the limit": round(taken / (RATE * (SECONDS - SETTLED)), 3),
        "429 once paced": len(service.late(service.refused)),
        "429 before": len(service.refused) - len(service.late(service.refused)),
        "given up": given_up,
        "longest wait beside the middle one": round(max(settled) / statistics.median(settled), 2),
    }


async def outage() -> int:
    """Make many calls while nothing works; return the requests beyond one each."""
    async with (
        FaultServer(lambda _: problem(503)) as server,
        Replicate("r8_x", base_url=server.url, limits=Limits(enabled=False)) as client,
    ):

        async def call(number: int) -> None:
            try:
                await client.predictions.get(f"p{number}")
            except ReplicateError:
                return

        left = iter(range(CALLS))

        async def work() -> None:
            for number in left:
                await call(number)

        await asyncio.gather(*(work() for _ in range(TASKS)))
        return len(server.requests) - CALLS


def main() -> int:
    """Print the figures, and fail when one is not good enough."""
    known = asyncio.run(storm(Limits(), burst=10))
    print(json.dumps({"soak": "pace", "limit": "known", **known}))
    unknown = asyncio.run(storm(Limits(creates=60_000), burst=10))
    print(json.dumps({"soak": "pace", "limit": "unknown", **unknown}))
    extra = asyncio.run(outage())
    print(json.dumps({"soak": "outage", "calls": CALLS, "extra requests": extra}))
    fine = (
        float(str(known["share of the limit"])) >= 0.95
        and known["429 once paced"] == 0
        and float(str(unknown["share of the limit"])) >= 0.9
        and float(str(unknown["longest wait beside the middle one"])) <= 3
        and extra <= 100
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
