"""When a process fetches permits from a distant store, and how many.

The store hands permits out in the order in which it is asked. A process that has more permits
waiting there gets more of them, so that shares are equal if each has one fetch waiting, however
long the way is: fetches on the way come on top. The functions are pure: the caller passes times in
seconds.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median_low
from typing import Final

_TOGETHER: Final = 0.1
"""Permits that are due within so many seconds are fetched together."""
_MOST_TOGETHER: Final = 64
_LONGEST_TRIP: Final = 1.0
"""Seconds of a round trip that permits are fetched ahead for; more is an outage."""
_SPARE: Final = 0.25
"""How much of a trip a process without others fetches further ahead, for trips that are longer."""
_GAIN: Final = 0.25
_EARLY: Final = 0.001
"""Seconds by which a timer may be early."""


def fetch_size(interval: float) -> int:
    """Return how many permits one fetch asks for, equal in all processes."""
    return max(1, int(min(_TOGETHER / interval, _MOST_TOGETHER)))


class FetchAhead:
    """The fetches of one process for one kind of permit.

    With a long queue in the store, a fetch is sent when it arrives just as the last permit of the
    one before is due. With a short queue, several are on the way at a time: as many permits as this
    process gets in a round trip, and those of one fetch. Call `sent` and `answered` for each fetch,
    or `failed`.
    """

    __slots__ = ("_last_due", "_most", "_share", "_trips", "_unanswered", "_wait")

    def __init__(self) -> None:
        # The first trip on a connection is far longer than the others.
        self._trips: deque[float] = deque(maxlen=9)
        self._share = 1.0  # of the whole rate
        self._wait = 0.0
        self._last_due = -math.inf
        self._unanswered = 0
        self._most = 0

    @property
    def _trip(self) -> float:
        return min(median_low(self._trips), _LONGEST_TRIP) if self._trips else 0.0

    @property
    def next_at(self) -> float:
        """The time from which a fetch does not come before the last permit is due."""
        return self._last_due - self._trip

    def allows(self, now: float, expected: int, interval: float) -> bool:
        """Return whether a fetch may be sent.

        *expected* permits are being fetched or are not due yet; they come *interval* apart.
        """
        if self._trips and self._wait >= self._trip:
            return not self._unanswered and now + _EARLY >= self.next_at
        size = fetch_size(interval)
        return expected + size <= max(size, self._most)

    def sent(self, interval: float, jitter: float) -> None:
        """Count a fetch; *jitter*, from 0 to 1, makes whole permits of fractions."""
        self._unanswered += 1
        self._most = int(self._ahead(interval) + jitter)

    def answered(self, now: float, trip: float, wait: float, number: int, interval: float) -> None:
        """Learn from the answer to a fetch of a *number* of permits.

        It came *now* after a round *trip*; the first permit is due *wait* seconds later.
        """
        self._unanswered -= 1
        self._trips.append(trip)
        self._wait = max(0.0, wait)
        size = fetch_size(interval)
        self._last_due = max(self._last_due, now + self._wait + (number - 1) * interval)
        # By Little's law: permits under way, divided by the time for which one is under way.
        half = (size - 1) / 2
        under_way = self._ahead(interval) - half * self._share
        share = min(1.0, under_way / ((self._trip + self._wait) / interval + half or 1.0))
        self._share += _GAIN * (share - self._share)

    def failed(self) -> None:
        """Forget a fetch that was not answered."""
        self._unanswered -= 1

    def dropped(self) -> None:
        """Forget when the last permit is due: permits were dropped."""
        self._last_due = -math.inf

    def _ahead(self, interval: float) -> float:
        """Return how many permits are under way just after a fetch was sent."""
        # Only a process that is alone needs to spare: permits of others fill a gap.
        trips = 1 + _SPARE * self._share**4
        return self._share * self._trip / interval * trips + fetch_size(interval)
