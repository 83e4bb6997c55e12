"""How often a run is polled, and when it has ended.

Polls are free but not without work: a batch of 100,000 must not poll each run twice a second, and
yet the end of a quick run should be seen soon. So the pause is a share of the time that the run has
had its status: short at first, longer later, and short again when work begins. A run that took a
second is seen to end within about a quarter of a second.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec

from replicate_async.core.numbers import is_number

__all__ = ["TERMINAL", "Poll", "is_terminal"]

TERMINAL: Final = frozenset({"succeeded", "failed", "canceled", "aborted"})
"""The statuses that a prediction or training ends with."""

_SHARE: Final = 0.25
_JITTER: Final = 0.2
_GROWTH: Final = 1.6
_STEADY: Final = 0.25


class Poll(msgspec.Struct, frozen=True, kw_only=True):
    """How often `wait` polls a run.

    A random fifth is taken off each pause, so that the runs of a batch spread out. With the
    defaults a run is polled about 5 times in its first second, 16 times in ten seconds and 29 times
    in a minute of waiting, 44 times in a minute of work.

    Args:
        first: Seconds before the first poll; 0.1. The next pauses grow up to a quarter of a second,
            and then to a quarter of the time that the run has had its status.
        starting: Seconds of the longest pause while the run waits for a machine; 5.
        processing: Seconds of the longest pause while it works; 2.

    Raises:
        ValueError: *first* is not above 0, or above one of the others.
    """

    first: float = 0.1
    starting: float = 5.0
    processing: float = 2.0

    def __post_init__(self) -> None:
        first = cast("object", self.first)
        if not (is_number(first, 0) and first):
            raise ValueError(f"Poll(first={first!r}): use a finite number of seconds above 0.")
        for name in ("starting", "processing"):
            longest: object = getattr(self, name)
            if not is_number(longest, first):
                raise ValueError(
                    f"Poll({name}={longest!r}): use a finite number of seconds, "
                    f"{first} (first) or more."
                )

    def delay(self, status: str, elapsed_in_status: float, attempt: int, jitter: float) -> float:
        """Return the seconds before the next poll.

        Args:
            status: The status of the run; an unknown one counts as "starting".
            elapsed_in_status: Seconds for which the run was seen with it.
            attempt: The number of the poll, from 1.
            jitter: A random number, uniform in [0, 1).
        """
        longest = self.processing if status == "processing" else self.starting
        pause = elapsed_in_status * _SHARE
        steady = max(self.first, _STEADY)
        if pause < steady:
            pause = max(pause, min(self.first * _GROWTH ** min(attempt - 1, 32), steady))
        return min(pause, longest) * (1 - _JITTER * jitter)


def is_terminal(status: str, completed_at_present: bool) -> bool:  # noqa: FBT001 - two facts
    """Return whether a run has ended; with an unknown status, a `completed_at` decides."""
    return status in TERMINAL or (completed_at_present and status not in {"starting", "processing"})
