"""One backoff for all polls of a client, so that an outage costs a few requests.

Ten thousand waits that each backed off alone would still send thousands of requests to an API that
is out. So after 5 failures in a row, of any runs, polls are paused, and one probe at a time is sent
until a poll is answered.

Nothing here reads a clock: the caller passes the time.
"""

from __future__ import annotations

import math
import sys
from typing import Final, NamedTuple

from replicate_async.core.backoff import backoff
from replicate_async.core.poll_schedule import PolledRun

__all__ = ["PollBackoff", "PollFailure"]

_TOLERATED: Final = 5
"""Failures in a row that pause the polls."""

_BASE: Final = 0.5
_CAP: Final = 5.0
"""Seconds between two polls that fail: no more requests than a healthy wait sends."""

_LONGEST_NAMED: Final = 60.0
"""Seconds of a Retry-After that are obeyed before a poll is sent all the same."""


class PollFailure(NamedTuple):
    """What the pause after a failed poll depends on; *jitter* is uniform in [0, 1).

    The *retry_after* that the API asks for is obeyed for as long as the waits *left* last.
    """

    retry_after: float | None
    left: float
    jitter: float

    def pause(self, failures: int) -> float:
        """Return the seconds until the next poll, after *failures* in a row."""
        pause = backoff(failures, base=_BASE, cap=_CAP, jitter=self.jitter, spread=0.5)
        if self.retry_after is None:
            return pause
        return max(pause, min(pause + min(self.retry_after, _LONGEST_NAMED), self.left))


class PollBackoff:
    """Whether polls may be sent."""

    __slots__ = ("_probe_at", "failures", "paused", "probe")

    def __init__(self) -> None:
        self._probe_at = 0.0
        self.failures: int = 0
        """Polls that failed in a row."""
        self.paused: bool = False
        self.probe: PolledRun | None = None
        """The run whose poll is the probe during a pause."""

    def allowed(self, now: float) -> int:
        """Return how many polls may be sent now."""
        if not self.paused:
            return sys.maxsize
        return 0 if self._is_probing() or now < self._probe_at else 1

    def next_at(self, due: float) -> float:
        """Return when a poll that is due at *due* may be sent, infinity during a probe."""
        if not self.paused:
            return due
        return math.inf if self._is_probing() else max(due, self._probe_at)

    def _is_probing(self) -> bool:
        return self.probe is not None and self.probe.poll_sent_at is not None

    def failed(self, run: PolledRun, failure: PollFailure, now: float) -> None:
        """Note that the poll of *run* failed."""
        if self.paused and run is not self.probe:
            return  # it was sent before the pause
        self.failures += 1
        self.probe = None
        if self.failures >= _TOLERATED:
            self.paused = True
            self._probe_at = now + failure.pause(self.failures - _TOLERATED + 1)

    def succeeded(self) -> None:
        """Note a poll that was answered, which ends the pause."""
        self.failures = 0
        self.paused = False
        self.probe = None
