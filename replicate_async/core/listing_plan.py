"""Which polls are answered together by one page of the listing.

A page shows the hundred newest runs before a moment, with finished runs and runs of other programs
among them. It is worth a request when it shows enough runs that are due. Then the other runs that
it shows are polled, too, which keeps neighbours together from page to page.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Collection
from typing import Final, Generic, NamedTuple, TypeVar

from replicate_async.core.backoff import backoff
from replicate_async.core.limits import Limits
from replicate_async.core.poll_schedule import PolledRun

__all__ = ["ListingPlan", "PageRequest", "Plan", "pages_per_second"]

_LEAST: Final = 4
"""Due runs that a page must show: it is larger and scarcer than single answers."""

_PAGE: Final = 100
_BURST: Final = 8
_SKEW: Final = 0.05
"""Seconds between the creation times that a create and the listing show for the same run."""

_INSTANT: Final = 1e-3
_PASSED_OVER: Final = 5
"""Pages that may end before a run until it is polled by itself."""

_DEFERRED: Final = 2.0
"""Seconds for which newer runs get all pages, before a run that waits for one comes first."""

_LAG: Final = 4.0
"""Seconds that the listing may be behind; doubled for a run that is not listed again."""
_LONGEST_LAG: Final = 1024.0

_PENALTY: Final = 30.0
_WORST_PENALTY: Final = 480.0
"""Seconds without pages after they failed or showed too little."""

R = TypeVar("R", bound=PolledRun)


def pages_per_second(limits: Limits) -> float:
    """Return how many pages waits may fetch: half of what *limits* allow such calls."""
    return math.inf if limits.others is None or not limits.enabled else limits.others / 60 / 2


class PageRequest(NamedTuple, Generic[R]):
    """A page to fetch, and the *runs* that it should show.

    The times are Unix times, *before* excluded; both are None for the first page.
    """

    runs: list[R]
    after: float | None
    before: float | None


class Plan(NamedTuple, Generic[R]):
    """How runs are polled: one by one, by pages, or *later*, when the next page may be fetched."""

    singles: list[R]
    pages: list[PageRequest[R]]
    later: list[R]


class ListingPlan(Generic[R]):
    """The runs that a listing shows, in the order of their creation.

    A *windowed* listing can be read from any time on, others only from the newest run.
    """

    def __init__(self, *, windowed: bool, pages_per_second: float) -> None:
        self._windowed = windowed
        self._interval = 1 / pages_per_second
        self._order: list[R] = []
        self._unplaced: dict[R, None] = {}
        """Runs that come into the order when a page may pay: quick runs never do."""
        self._page_size = float(_PAGE)
        self._hit_rate = float(_PAGE)
        """How many of the expected runs recent pages showed."""
        self._skew = _SKEW
        self._free_at = 0.0
        self._off_until = 0.0
        self._failures = 0

    def add(self, run: R, listed: float | None = None) -> None:
        """Add *run*, which the listing shows as created at *listed*."""
        if listed is not None and (not run.confirmed or run.created != listed):
            self.discard(run)
            if run.created is not None and not run.confirmed:
                self._skew = min(max(listed - run.created, self._skew * 0.9, _INSTANT), 1.0)
            run.created, run.confirmed = listed, True
        if run.created is not None and not run.placed:
            self._unplaced[run] = None

    def discard(self, run: R) -> None:
        """Remove *run* if it is there."""
        self._unplaced.pop(run, None)
        if run.placed:
            run.placed = False
            del self._order[self._index(run)]

    def _place_new(self) -> None:
        for run in self._unplaced:
            insort(self._order, run, key=_place)
            run.placed = True
        self._unplaced.clear()

    def _index(self, run: R) -> int:
        return bisect_left(self._order, _place(run), key=_place)

    def plan(self, due: list[R], now: float) -> Plan[R]:
        """Divide the runs that are *due*, and mark those on pages as polled."""
        if len(self._order) + len(self._unplaced) < _LEAST or now < self._off_until:
            return Plan(due, [], [])
        if all(run.created is None for run in due):
            return Plan(due, [], [])
        self._place_new()
        plan: Plan[R] = Plan([], [], [])

        def place(run: R) -> tuple[bool, float]:
            """Place runs that were deferred for long first, then the newest."""
            deferred_at = run.deferred_at or now
            is_late = now - deferred_at > _DEFERRED
            return not is_late, deferred_at if is_late else -(run.created or 0.0)

        for run in sorted(due, key=place):
            if run.poll_sent_at is not None:
                continue
            window = self._window(run, now)
            ripe = [at for at, other in enumerate(window) if other.ripe_at <= now]
            if len(ripe) < _LEAST:
                plan.singles.append(run)
            elif self.next_page_at > now:
                run.deferred_at = run.deferred_at or now
                plan.later.append(run)
            else:
                self._free_at = max(self._free_at, now) + self._interval
                # With the runs in between that are not due: another page would show the same.
                shown = window[ripe[0] : ripe[-1] + 1]
                plan.pages.append(self._request(shown))
                for other in shown:
                    other.poll_sent_at, other.deferred_at = now, None
        return plan

    @property
    def next_page_at(self) -> float:
        """When the next page may be fetched."""
        return self._free_at - _BURST * self._interval

    def _window(self, run: R, now: float) -> list[R]:
        """Return the runs that a page with *run* would show, placed where it shows the most."""
        if not run.placed or run.listed_from > now or run.passed_over >= _PASSED_OVER:
            return []
        span = max(_LEAST, int(self._page_size))
        at, top = self._index(run), len(self._order) - 1
        if self._windowed and run.passed_over:
            top = at  # newer runs would be due again before its turn
        elif self._windowed:
            top = min(top, at + span - 1)
            while top > at and not _is_ripe(self._order[top], now):
                top -= 1
        elif at <= top - span:
            return []
        shown = self._order[max(0, top - span + 1) : top + 1]
        return [other for other in shown if other.poll_sent_at is None and other.listed_from <= now]

    def _request(self, runs: list[R]) -> PageRequest[R]:
        if not self._windowed:
            return PageRequest(runs, None, None)
        oldest, newest = runs[0], runs[-1]
        margin = _INSTANT if newest.confirmed else self._skew
        return PageRequest(runs, (oldest.created or 0.0) - _SKEW, (newest.created or 0.0) + margin)

    def page_read(
        self, request: PageRequest[R], listed: Collection[str], oldest: float | None, *, now: float
    ) -> set[R]:
        """Learn from a page, and return the runs of *request* that must be polled by themselves.

        *listed* has the keys of its runs, *oldest* is when the last of them was created, None if no
        page follows.
        """
        self._failures = 0
        if oldest is not None:
            self._page_size += (max(len(listed), 1) - self._page_size) * 0.5
        hits = sum(run.key in listed for run in request.runs)
        self._hit_rate += (min(hits, _PAGE) - self._hit_rate) * 0.2
        if self._hit_rate < _LEAST / 2:
            # Runs that have ended and runs of other programs fill the pages.
            self._hit_rate = float(_LEAST)
            self._off_until = now + _PENALTY
        alone: set[R] = set()
        for run in request.runs:
            if run.key in listed or run.poll_sent_at is None or run.ripe_at > now:
                continue
            if oldest is None or (run.created or 0.0) > oldest + _SKEW:
                # Listings lag behind, or leave runs out.
                run.unlisted += 1
                run.listed_from = now + backoff(run.unlisted, base=_LAG, cap=_LONGEST_LAG)
                alone.add(run)
            elif hits:
                run.passed_over += 1
            else:
                # Runs that were created at the same moment fill the page, and would again.
                alone.add(run)
        return alone

    def page_failed(self, now: float) -> None:
        """Fetch no page for a while."""
        self._failures += 1
        self._off_until = now + backoff(self._failures, base=_PENALTY, cap=_WORST_PENALTY)

    def reset(self) -> None:
        """Fetch pages again: they failed because the whole API did."""
        self._off_until = 0.0
        self._failures = 0


def _place(run: PolledRun) -> tuple[float, str]:
    return run.created or 0.0, run.key


def _is_ripe(run: PolledRun, now: float) -> bool:
    return run.ripe_at <= now and run.poll_sent_at is None
