"""One backoff for all polls of a client, so that an outage costs a few requests.

Ten thousand waits that each backed off alone would still send thousands of requests to an API that
is out. So after some failures in a row, of whichever runs, polls are paused, and one probe at a
time is sent until a poll is answered.

Nothing here reads a clock: the caller passes the time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Final

from replicate_async.core.backoff import backoff

__all__ = ["PollBackoff", "retry_pause"]

_TOLERATED: Final = 5
"""Failures in a row that do not pause the polls yet."""

_PROBE_BASE: Final = 1.0
_PROBE_CAP: Final = 5.0
"""Seconds between two probes: no more requests than one healthy wait sends."""

_RETRY_BASE: Final = 0.5
_SPREAD: Final = 0.5
_LONGEST_NAMED: Final = 60.0
"""Seconds of a Retry-After that are obeyed before a poll is sent all the same."""


class PollBackoff:
    """Whether polls may be sent; *jitter* is uniform in [0, 1)."""

    __slots__ = ("_jitter", "_probe_at", "_probes", "failures", "paused", "probe", "refused_since")

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._probes = 0
        self._probe_at = 0.0
        self.failures: int = 0
        """Polls that failed in a row."""
        self.paused: bool = False
        self.probe: str | None = None
        """The run whose poll is the probe, while that is queued or sent."""
        self.refused_since: float | None = None
        """Since when all polls were refused."""

    def allowed(self, now: float) -> int:
        """Return how many polls may be sent now."""
        if not self.paused:
            return sys.maxsize
        return 1 if self.probe is None and now >= self._probe_at else 0

    def next_at(self, due: float) -> float:
        """Return when a poll that is due at *due* may be sent, infinity during a probe."""
        if not self.paused:
            return due
        return max(due, self._probe_at) if self.probe is None else math.inf

    def failed(
        self, key: str, now: float, *, refused: bool, retry_after: float | None, left: float
    ) -> None:
        """Note that the poll of the run *key* failed; *refused* means that the API answered.

        The *retry_after* that the API asks for is obeyed for as long as the waits *left* last.
        """
        if self.paused and key != self.probe:
            return  # it was sent before the pause
        if not refused:
            self.refused_since = None
        elif self.refused_since is None:
            self.refused_since = now
        self.failures += 1
        if self.failures < _TOLERATED:
            return
        self.paused = True
        self.probe = None
        self._probes += 1
        pause = backoff(
            self._probes, base=_PROBE_BASE, cap=_PROBE_CAP, jitter=self._jitter(), spread=_SPREAD
        )
        self._probe_at = now + _obeyed(pause, retry_after, left)

    def succeeded(self) -> None:
        """Note a poll that was answered, which ends the pause."""
        self.failures = self._probes = 0
        self.paused = False
        self.probe = self.refused_since = None

    def abandon(self, key: str) -> None:
        """Note that the poll of the run *key* will not be answered."""
        if self.probe == key:
            self.probe = None


def retry_pause(
    failures: int, *, longest: float, retry_after: float | None, left: float, jitter: float
) -> float:
    """Return the seconds until a run is polled again whose last polls failed.

    The *retry_after* that the API asks for is obeyed for as long as the waits *left* last.
    """
    pause = backoff(failures, base=_RETRY_BASE, cap=longest, jitter=jitter, spread=_SPREAD)
    return _obeyed(pause, retry_after, left)


def _obeyed(pause: float, retry_after: float | None, left: float) -> float:
    if retry_after is None:
        return pause
    return max(pause, min(pause + min(retry_after, _LONGEST_NAMED), left))
