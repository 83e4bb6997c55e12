"""Estimates the rate that a server accepts, from its answers.

The estimate starts at the documented rate. A refusal bounds the true rate from above; the requests
accepted between two refusals bound it from below, since the server had no permits left at the
first. The search goes on between the bounds, and above them ever more rarely, in case the limit was
raised. A rate that the server names ends the search.

The functions are pure: the caller passes the time of a monotonic clock.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["RESERVE", "RateEstimator"]

_CUT: Final = 0.94  # of a rate that was refused: where to start again
_BELOW: Final = 0.97  # of it: where to stay
_BEYOND: Final = 0.02  # above that after twice the search
_SEARCH: Final = 5.0  # seconds from the lower bound to the upper
_LONGEST_SEARCH: Final = 320.0
_PATIENCE: Final = 4  # by which the search grows longer each time that it reached its end
_CLOSE: Final = 0.5  # bounds this near to each other call for patience
_UNKNOWN: Final = 1 / 16  # of it: the lower bound after a refusal with nothing accepted before it
_SOON: Final = 0.4  # of a search: until then the start itself was too high
_PERMITS: Final = 5  # the search takes at least as long as so many
_SAME_STORM: Final = 0.5  # seconds in which further refusals answer what was sent before the first
_LOWEST: Final = 1 / 3600

RESERVE: Final = 0.97  # of a rate that comes without a burst, for what the network delays
_TRUSTED: Final = 600.0  # seconds until what was learned is put to the test
_DOUBT: Final = 60.0  # seconds for which headers are not believed that were wrong once


class RateEstimator:
    """The present rate in permits a second; *limit* until the server refuses a request."""

    __slots__ = (
        "_accepted",
        "_cut_at",
        "_doubt",
        "_high",
        "_limit",
        "_low",
        "_named",
        "_resumes",
        "_search",
        "_start",
        "burst",
        "rate",
    )

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._doubt = 0.0
        self._resumes = -math.inf
        self._forget()

    def _forget(self) -> None:
        self.rate: float = self._limit
        self.burst: int | None = None
        """The burst of a rate that the server named, else None."""
        self._named = False
        self._cut_at: float | None = None
        self._accepted = 0
        self._low = 0.0
        self._high = self._start = self._limit
        self._search = _SEARCH

    @property
    def settled(self) -> bool:
        """Whether the rate is the full one, so that a success changes nothing."""
        return self._cut_at is None

    def refused(self, now: float, resumes: float) -> None:
        """Learn from a 429 after which no request is sent before *resumes*.

        Refusals of requests that were sent before the first one count as one with it.
        """
        if not self._named and (
            self._cut_at is None or now > max(self._resumes, self._cut_at + _SAME_STORM)
        ):
            self._cut(now)
        self._resumes = max(self._resumes, resumes)

    def _cut(self, now: float) -> None:
        high = self.rate
        self._start = high * _CUT
        if self._cut_at is not None:
            low = min(high, self._accepted / (now - self._cut_at))
            self._low = max(low, self._low) if self._low < high else low
            lasted = now - self._resumes
            if self._low < _CLOSE * high or lasted < _SOON * self._search:
                self._start = min(self._start, math.sqrt((self._low or _UNKNOWN * high) * high))
                self._search = max(_SEARCH, self._search / 2)
            elif self._search <= lasted < 8 * self._search:
                self._search = min(_LONGEST_SEARCH, _PATIENCE * self._search)
        self._high = high
        self.rate = self._start = max(self._start, _LOWEST)
        self._cut_at = now
        self._accepted = 0

    def named(self, now: float, resumes: float, rate: float, burst: int | None) -> None:
        """Take the *rate* that a 429 names, unless the present one is lower already."""
        if rate >= self.rate and not self._named:
            self.refused(now, resumes)
            return
        self._resumes = max(self._resumes, resumes)
        self.rate = min(self._limit, max(_LOWEST, rate * RESERVE))
        self.burst = burst or 1
        self._named = True
        self._cut_at = now

    def accepted(self, now: float, remaining: int | None = None) -> None:
        """Learn from a success; the server would take *remaining* more requests at once."""
        if self._cut_at is None:
            return
        self._accepted += 1
        since = now - self._cut_at
        # A burst of one leaves nothing after a request; with anything left, the limit is higher.
        shown = self.burst is not None and remaining is not None and remaining >= self.burst
        if shown and since >= self._doubt:
            self._forget()
            self._doubt = min(_TRUSTED, max(_DOUBT, 2 * self._doubt))
        elif self._named or self.rate >= self._limit:
            if since > _TRUSTED:
                self._forget()
        elif now > self._resumes:
            self.rate = min(self._limit, max(_LOWEST, self._at(now - self._resumes)))

    def _at(self, since: float) -> float:
        goal = self._high * _BELOW
        steps = since / max(self._search, _PERMITS / self._start)
        if steps < 1:
            return self._start + (goal - self._start) * steps
        return goal + self._high * _BEYOND * (steps - 1) ** 3
