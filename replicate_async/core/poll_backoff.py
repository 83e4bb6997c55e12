"""One backoff for all polls of a client, so that an outage costs a few requests.

Ten thousand waits that each backed off alone would still send thousands of requests to an API that
is out. So after some failures in a row, whichever runs they are of, polls are held back, and one of
them at a time tries until one is answered.

Nothing here reads a clock: the caller passes the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["PollBackoff", "pause_after"]

_TOLERATED: Final = 5
"""Failures in a row that are bad luck."""

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two tries; no more requests than one healthy wait sends."""

_FIRST_REPEAT: Final = 0.5
_LONGEST_REPEAT: Final = 30.0
_LONGEST_NAMED: Final = 60.0
"""Seconds of a Retry-After that are obeyed before a poll is sent all the same."""

_JITTER: Final = 0.5


class PollBackoff:
    """Whether polls may leave; *dice* is uniform in [0, 1)."""

    __slots__ = ("_dice", "_tries", "closed_at", "failures", "open_at", "probe", "refused_since")

    def __init__(self, dice: Callable[[], float]) -> None:
        self._dice = dice
        self._tries = 0
        self.failures: int = 0
        """Polls that failed one after the other."""
        self.closed_at: float | None = None
        """Since when polls are held back; None while they are not."""
        self.open_at: float = 0.0
        """When the next one may try."""
        self.probe: str | None = None
        """The run that is being tried with."""
        self.refused_since: float | None = None
        """Since when every poll has been refused."""

    def failed(self, key: str, now: float, *, refused: bool, retry_after: float | None) -> None:
        """Note that the poll of the run *key* failed; *refused* says that the API answered."""
        if self.closed_at is not None and key != self.probe:
            return  # it was under way when polls began to be held back
        if not refused:
            self.refused_since = None
        elif self.refused_since is None:
            self.refused_since = now
        self.failures += 1
        if self.failures < _TOLERATED:
            return
        if self.closed_at is None:
            self.closed_at = now
        self.probe = None
        pause = min(_FIRST_PAUSE * 2.0 ** min(self._tries, 16), _LONGEST_PAUSE)
        self.open_at = now + _later(pause, retry_after, self._dice())
        self._tries += 1

    def worked(self) -> None:
        """Note a poll that was answered: all may leave again."""
        self.failures = self._tries = 0
        self.closed_at = self.probe = self.refused_since = None

    def forget(self, key: str) -> None:
        """Note that nothing will come of the poll of the run *key*."""
        if self.probe == key:
            self.probe = None


def pause_after(failures: int, *, longest: float, retry_after: float | None, dice: float) -> float:
    """Return the seconds until a run is polled again whose last polls failed."""
    pause = min(_FIRST_REPEAT * 2.0 ** min(failures - 1, 16), longest, _LONGEST_REPEAT)
    return _later(pause, retry_after, dice)


def _later(pause: float, retry_after: float | None, dice: float) -> float:
    pause *= 1 - _JITTER * dice
    return pause if retry_after is None else max(pause, min(retry_after, _LONGEST_NAMED) + pause)
