"""When to look at a run again, and when it is over.

Polls are free of charge but not of work: a night's batch of 100,000 must not ask twice a second
for each, and yet the end of a quick run should be seen soon after it came. So the waits follow
the run: short at first, longer the longer it stands still, and short again when it starts to
work. The wait is a share of the time that has passed, which keeps the delay that polling adds in
proportion: a run that took a second is seen to end within about a quarter of a second.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

__all__ = ["TERMINAL", "Poll", "is_terminal"]

TERMINAL: Final = frozenset({"succeeded", "failed", "canceled", "aborted"})
"""The statuses that a prediction or training ends with."""

_SHARE: Final = 0.25
_JITTER: Final = 0.2
_GROWTH: Final = 1.6
_STEADY: Final = 0.25


class Poll(msgspec.Struct, frozen=True, kw_only=True):
    """How often `wait` asks whether a run is over.

    The first look comes after *first* seconds (0.1), the next ones after somewhat more, up to a
    quarter of a second. From then on the wait is a quarter of the time that the run has had its
    status, up to *starting* seconds while it waits for a machine (5) and *processing* seconds
    while it works (2). A random fifth is taken off, so that the runs of a batch spread out. With
    the defaults a run is looked at about 5 times in its first second, 16 times in ten seconds and
    29 times in a minute of waiting, 44 times in a minute of work.

    Raises `ValueError` unless `0 < first <= processing` and `first <= starting`.
    """

    first: float = 0.1
    starting: float = 5.0
    processing: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.first < math.inf:
            raise ValueError(f"Poll(first={self.first}): use a finite number of seconds above 0.")
        for name, longest in (("starting", self.starting), ("processing", self.processing)):
            if not self.first <= longest < math.inf:
                raise ValueError(
                    f"Poll({name}={longest}): use a finite number of seconds, "
                    f"{self.first} (first) or more."
                )

    def delay(self, status: str, elapsed_in_status: float, attempt: int, jitter: float) -> float:
        """Return the seconds to wait before the next look.

        *elapsed_in_status* is how long the run has had *status*, in seconds, as far as the caller
        saw; *attempt* counts the polls since the caller began, from 1; *jitter* is uniform in
        [0, 1). A status that this version does not know has the pace of `starting`.
        """
        longest = self.processing if status == "processing" else self.starting
        wait = elapsed_in_status * _SHARE
        steady = max(self.first, _STEADY)
        if wait < steady:
            wait = max(wait, min(self.first * _GROWTH ** min(attempt - 1, 32), steady))
        return min(wait, longest) * (1 - _JITTER * jitter)


def is_terminal(status: str, completed_at_present: bool) -> bool:  # noqa: FBT001 - two facts
    """Tell whether a run is over.

    A status that this version does not know is the end when the run has a `completed_at`.
    """
    return status in TERMINAL or (completed_at_present and status not in {"starting", "processing"})
