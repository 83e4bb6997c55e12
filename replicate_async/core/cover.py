"""Which looks at runs are paid for together, by a page of the listing.

A page shows the hundred newest runs before a moment, finished ones and strangers among them. It is
worth a request when it shows enough of the runs that are due; then all the others that it shows
have been looked at, too, which keeps neighbours together from page to page.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from replicate_async.core.schedule import Item

__all__ = ["Cover", "Look"]

_LEAST: Final = 4
"""Runs that must be due to ask for a page, which is larger and scarcer than single answers."""

_PAGE: Final = 100
_BURST: Final = 8
_SKEW: Final = 0.05  # seconds between what a create and what the listing say of the same moment
_INSTANT: Final = 1e-3
_PATIENCE: Final = 5
_LAG: Final = 4.0
_PENALTY: Final = 30.0
_WORST_PENALTY: Final = 480.0


T = TypeVar("T", bound=Item)


class Look(NamedTuple, Generic[T]):
    """A page to ask for, and the runs that are expected there.

    The times are Unix times, *before* excluded; without them it is the first page.
    """

    items: list[T]
    after: float | None
    before: float | None


class Cover(Generic[T]):
    """The runs that a listing shows, in order, and the pages that they are read from.

    *windowed* says that a page can begin anywhere; *per_second* bounds the pages.
    """

    def __init__(self, *, windowed: bool, per_second: float) -> None:
        self._windowed = windowed
        self._interval = 1 / per_second
        self._order: list[tuple[float, str]] = []
        self._items: dict[str, T] = {}
        self._size = float(_PAGE)
        self._worth = float(_PAGE)  # how many of those who were due a page showed lately
        self._skew = _SKEW  # by how much the listing's times are later than a create's
        self._free_at = 0.0
        self._off_until = 0.0
        self._failures = 0

    def place(self, item: T, created: float | None = None) -> None:
        """Put *item* where it belongs; *created* is what the listing says."""
        if created is not None and (not item.confirmed or item.created != created):
            self.displace(item)
            if item.created is not None and not item.confirmed:
                self._skew = min(max(created - item.created, self._skew * 0.9, _INSTANT), 1.0)
            item.created, item.confirmed = created, True
        if item.created is not None and item.key not in self._items:
            self._items[item.key] = item
            insort(self._order, (item.created, item.key))

    def displace(self, item: T) -> None:
        """Take *item* out."""
        if self._items.pop(item.key, None) is not None:
            del self._order[self._index(item)]

    def _index(self, item: T) -> int:
        return bisect_left(self._order, (item.created or 0.0, item.key))

    def plan(self, due: list[T], now: float) -> tuple[list[T], list[Look[T]], list[T]]:
        """Return whom to ask for one by one, the pages to ask for, and who must wait for a page.

        Those on pages are marked as being looked at.
        """
        if len(self._order) < _LEAST or now < self._off_until:
            return due, [], []
        span = max(_LEAST, int(self._size))
        singles: list[T] = []
        looks: list[Look[T]] = []
        later: list[T] = []
        for item in sorted(due, key=lambda item: item.created or 0.0, reverse=True):
            if item.looking:
                continue
            placed = item.key in self._items and item.listed_from <= now
            placed = placed and item.passed_over < _PATIENCE
            window = self._window(item, span, now) if placed else []
            ripe = [at for at, one in enumerate(window) if one.ripe_at <= now]
            if len(ripe) < _LEAST:
                singles.append(item)
            elif self._free_at > now + _BURST * self._interval:
                later.append(item)
            else:
                self._free_at = max(self._free_at, now) + self._interval
                # All between them, due or not, or another page would be asked for meanwhile that
                # shows the same.
                shown = window[ripe[0] : ripe[-1] + 1]
                looks.append(self._look(shown))
                for one in shown:
                    one.looking = True
        return singles, looks, later

    @property
    def free_at(self) -> float:
        """When the next page may be asked for."""
        return self._free_at - _BURST * self._interval

    def _window(self, item: T, span: int, now: float) -> list[T]:
        """Return those that a page with *item* would show, begun where it shows most."""
        at = self._index(item)
        top = len(self._order) - 1
        if self._windowed and item.passed_over:
            top = at  # or those above it would be due again before its turn came
        elif self._windowed:
            top = min(top, at + span - 1)
            while top > at and not _is_ripe(self._items[self._order[top][1]], now):
                top -= 1
        elif at <= top - span:
            return []
        shown = [self._items[key] for _, key in self._order[max(0, top - span + 1) : top + 1]]
        return [one for one in shown if not one.looking and one.listed_from <= now]

    def _look(self, items: list[T]) -> Look[T]:
        if not self._windowed:
            return Look(items, None, None)
        oldest, newest = items[0], items[-1]
        margin = _INSTANT if newest.confirmed else self._skew
        return Look(items, (oldest.created or 0.0) - _SKEW, (newest.created or 0.0) + margin)

    def answered(self, now: float, found: int, *, shown: int, full: bool) -> None:
        """Learn from a page with *shown* runs, *found* of those that were expected among them.

        It is *full* when there are more behind it.
        """
        self._failures = 0
        if full:
            self._size += (max(shown, 1) - self._size) * 0.5
        self._worth += (min(found, _PAGE) - self._worth) * 0.2
        if self._worth < _LEAST / 2:
            # Runs that have ended and runs of strangers leave no room on the pages.
            self._worth = float(_LEAST)
            self._off_until = now + _PENALTY

    def hide(self, item: T, now: float) -> None:
        """Note that a page did not show *item*: listings may lag behind, or leave it out."""
        item.listed_from = now + _LAG * 2 ** min(item.unlisted, 8)
        item.unlisted += 1

    def recovered(self) -> None:
        """Ask for pages again: they failed because the whole API was out."""
        self._off_until = 0.0
        self._failures = 0

    def failed(self, now: float) -> None:
        """Ask for no page for a while."""
        self._off_until = now + min(_PENALTY * 2**self._failures, _WORST_PENALTY)
        self._failures += 1


def missing(items: Iterable[T], oldest: float | None) -> tuple[list[T], list[T]]:
    """Tell those that a page should have shown from those that it did not reach.

    *oldest* is when the last run on it was created, None when nothing is behind it.
    """
    hidden: list[T] = []
    beyond: list[T] = []
    for item in items:
        reached = oldest is None or (item.created or 0.0) > oldest + _SKEW
        (hidden if reached else beyond).append(item)
    return hidden, beyond


def _is_ripe(item: Item, now: float) -> bool:
    return item.ripe_at <= now and not item.looking
