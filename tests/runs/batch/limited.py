"""A batch behind a limiter that it shares with others: `limited.py ITEMS JOURNAL`, in virtual time.

Prints what it came to. All clocks of the process show the loop's time, which jumps to what comes
next when nothing has happened for a moment.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import sys
import time
from pathlib import Path
from typing import Final

EPOCH: Final = 1_790_000_000.0
QUIET: Final = 0.003
"""Real seconds in which the journal's thread would have answered."""

_now = 100.0


class _Selector(selectors.SelectSelector):
    """Lets time pass instead of waiting for it."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        global _now  # noqa: PLW0603 - the one clock
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        ready = super().select(QUIET if timeout else None)
        if not ready and timeout:
            _now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(_Selector())

    def time(self) -> float:
        return _now


if __name__ == "__main__":  # before anything takes the real ones
    time.monotonic = lambda: _now
    time.time = lambda: EPOCH + _now
    time.clock_gettime = lambda _: _now

sys.path.insert(0, str(Path(__file__).parents[3]))

from replicate_async import BatchTimeouts  # noqa: E402 - see above
from replicate_async.core.limits import BucketName  # noqa: E402 - see above
from tests.runs.batch.api import MODEL, BatchAPI, client_of  # noqa: E402 - see above
from tests.support.replies import problem  # noqa: E402 - see above
from tests.support.wire import Answer  # noqa: E402 - see above

PERMIT_EVERY: Final = 40.0
"""Of 6 permits a minute, others take 3 of 4."""


class Shared:
    """A limiter that hands out creates in the order in which they were asked for."""

    def __init__(self) -> None:
        self._next = 0.0
        self.longest = 0.0

    async def acquire(self, kind: BucketName) -> None:
        if kind == "create":
            due = max(_now, self._next)
            self._next = due + PERMIT_EVERY
            self.longest = max(self.longest, due - _now)
            await asyncio.sleep(due - _now)

    def on_rate_limited(
        self, kind: BucketName, seconds: float, per_minute: float | None = None
    ) -> None:
        del kind, per_minute
        self._next = max(self._next, _now + seconds)


def refuse(number: int) -> Answer | None:
    """Refuse one create of 15, and break one of 20 so that it may have happened."""
    if number % 15 == 7:
        return problem(429, retry_after="20")
    return problem(503) if number % 20 == 3 else None


async def main(items: int, journal: str) -> None:
    """Run the batch, and print its summary."""
    api = BatchAPI(seconds=5.0, refuse=refuse, lose=lambda number: number % 9 == 5)
    limiter = Shared()
    began = _now
    async with api.server() as server, client_of(server.url) as client:
        limited = client.with_options(limiter=limiter)
        inputs = [{"n": number} for number in range(items)]
        batch = limited.batch(MODEL, inputs, journal=journal, batch_timeouts=BatchTimeouts())
        results = [result async for result in batch]
    print(
        json.dumps(
            {
                "ok": sum(result.ok for result in results),
                "uncertain": sum(result.uncertain for result in results),
                "made": len(api.made),
                "created_twice": len(api.twice()),
                "longest_wait": round(limiter.longest),
                "minutes": round((_now - began) / 60),
            }
        )
    )


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(main(int(sys.argv[1]), sys.argv[2]))
