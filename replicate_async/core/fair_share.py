"""The share of a rate limit that a process takes when others use the same token.

Each answer tells how many permits the server has left, the same number to all processes. While few
are left, all give up the same part of their rates; else all add as much a second. So the rates
become equal (additive increase, multiplicative decrease), and few requests are refused.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["FairShare"]

_PLENTY: Final = 2.0
"""Seconds for which so many permits last. Half of them are few, or half of those left lately."""
_PLENTY_PERMITS: Final = 20.0
_LATELY: Final = 30.0
_CUT: Final = 0.85
_CUT_EVERY: Final = 2.0
"""Seconds from one cut to the next, in which the first shows."""
_RISE: Final = 1 / 600
"""Of the whole rate, for each permit of it; from 1 to 10 permits a second."""
_LEAST: Final = 1 / 100


class FairShare:
    """The share that one process takes of *limit* permits a second.

    While it is 1, answers with `plenty` of permits left need not be observed.
    """

    def __init__(self, limit: float) -> None:
        self.share: float = 1.0
        self.plenty: float = max(_PLENTY * limit, _PLENTY_PERMITS)
        self._rise = _RISE * min(max(limit, 1.0), 10.0)
        self._lately = self._before = 0  # the most that were left, and in the time before
        self._next_at = self._seen_at = self._cut_at = -math.inf

    def observed(self, now: float, remaining: int) -> None:
        """Learn from an answer: the server would take *remaining* more requests at once."""
        if now >= self._next_at:
            self._before, self._lately, self._next_at = self._lately, 0, now + _LATELY
        self._lately = max(self._lately, remaining)
        if remaining >= min(self.plenty, max(self._lately, self._before)) / 2:
            self.share = min(1.0, self.share + (now - self._seen_at) * self._rise)
        elif now >= self._cut_at + _CUT_EVERY:
            self._cut_at = now
            self.share = max(_LEAST, self.share * _CUT)
        self._seen_at = now
