"""Holding back while the API is out, so that an outage costs a few requests and no inputs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

_TOLERATED: Final = 5
"""Failures in a row before creates are held back: fewer are bad luck."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0


class Outage:
    """A gate before creates: open while they work, and a crack wide while they do not.

    After 5 failures in a row one create at a time tries, after 1, 2, 4 and up to 60 seconds, until
    one succeeds. *patience* is how many seconds of that are borne.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        patience: float,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._patience = patience
        self._failures = 0
        self._tries = 0
        self._trying = False
        self._since: float | None = None
        self._until = 0.0
        self._probe = asyncio.Lock()
        self.ever_worked: bool = False

    @property
    def lost_patience(self) -> bool:
        """Whether nothing has worked for as long as is borne."""
        return self._since is not None and self._clock() - self._since > self._patience

    def worked(self) -> None:
        """Note a create that the API answered, whatever it said about the input."""
        self.ever_worked = True
        self._failures = self._tries = 0
        self._since = None

    def failed(self) -> None:
        """Note a create that the API did not answer, or could not."""
        self._failures += 1
        if self._since is None:
            self._since = self._clock()
        if self._failures >= _TOLERATED:
            # Those that were under way together are one failure; only lone tries make it longer.
            self._tries += self._trying
            pause = min(_FIRST_PAUSE * 2 ** min(self._tries, 6), _LONGEST_PAUSE)
            self._until = self._clock() + min(pause, self._patience)

    async def through(self) -> bool:
        """Wait until a create may be tried; true for one that tries alone, and calls `tried`."""
        if self._failures < _TOLERATED:
            return False
        await self._probe.acquire()
        try:
            if self._failures < _TOLERATED:
                self._probe.release()
                return False
            await self._sleep(max(0.0, self._until - self._clock()))
        except BaseException:
            self._probe.release()
            raise
        self._trying = True
        return True

    def tried(self) -> None:
        """Let the next one try."""
        self._trying = False
        self._probe.release()
