"""The circuit breaker of a batch: an outage of the API costs a few requests and no inputs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from replicate_async.core.backoff import backoff

_TOLERATED: Final = 5
"""Failures in a row that open it."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0


class CircuitBreaker:
    """Lets creates through while they work; after 5 failures in a row, one probe at a time.

    Probes leave after 1, 2, 4 and up to 60 seconds, until one succeeds. Until the first success of
    all, creates go one at a time too, without pauses. *timeout* is the number of seconds of
    failures after which `gave_up` is true.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        timeout: float,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._timeout = timeout
        self._failures = 0
        self._probes = 0
        self._failing_since: float | None = None
        self._closed_until = 0.0
        self._turn = asyncio.Lock()
        self.ever_succeeded: bool = False

    @property
    def is_open(self) -> bool:
        """Whether creates are held back."""
        return self._failures >= _TOLERATED

    @property
    def _one_at_a_time(self) -> bool:
        return self.is_open or not self.ever_succeeded

    @property
    def gave_up(self) -> bool:
        """Whether creates have only failed for longer than *timeout*."""
        since = self._failing_since
        return since is not None and self._clock() - since > self._timeout

    def succeeded(self) -> None:
        """Count a create that the API answered, also with an error about the input."""
        self.ever_succeeded = True
        self._failures = self._probes = 0
        self._failing_since = None

    def failed(self) -> None:
        """Count a create that the API did not answer, or could not."""
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = self._clock()
        if self.is_open:
            # Probes alone make it longer: creates that are under way together fail together.
            pause = backoff(self._probes + 1, base=_FIRST_PAUSE, cap=_LONGEST_PAUSE)
            self._closed_until = self._clock() + min(pause, self._timeout)

    @asynccontextmanager
    async def attempt(self) -> AsyncGenerator[None]:
        """Wait until a create may be tried, and run the body with it."""
        if self._one_at_a_time:
            async with self._turn:
                if self._one_at_a_time:
                    if self.is_open:
                        await self._sleep(max(0.0, self._closed_until - self._clock()))
                        self._probes += self.is_open  # else another has succeeded meanwhile
                    yield
                    return
        yield
