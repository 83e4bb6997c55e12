"""When to look at which of many runs: one wheel for all of them, and no clock.

A run that is looked at through a page of the listing costs a hundredth of a request, so the pace
is the same for one run and for ten thousand: what differs is how the looks are paid for, which
`core.cover` decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from replicate_async.core.durations import Durations
from replicate_async.core.poll import Poll
from replicate_async.core.wheel import Timed, Wheel

__all__ = ["Item", "Schedule"]

_RIPE: Final = 0.7  # the share of its pause after which a run is looked at along with others
_STEPS: Final = 5  # looks while a run is likely to end
_FINEST: Final = 0.1  # of how long it takes at least
_SHORTEST: Final = 0.05
_COARSEST: Final = 1.6  # seconds, or a hundredth of what it takes
_EARLY: Final = 0.1
_LATE: Final = 0.25
_JITTER: Final = 0.2
_USUAL: Final = Poll()


class Item(Timed):
    """A run that is waited for, as far as the schedule needs to know it.

    Times of the API (*created*, *started*) are Unix times, the others are those of the caller's
    clock. *brisk* says that somebody wants to see every change, not only the end.
    """

    __slots__ = (
        "active",
        "attempt",
        "brisk",
        "changed_at",
        "confirmed",
        "created",
        "key",
        "listed_from",
        "looking",
        "passed_over",
        "poll",
        "profile",
        "ripe_at",
        "started",
        "status",
        "unlisted",
    )

    def __init__(self, key: str, now: float) -> None:
        super().__init__()
        self.key: str = key
        self.poll: Poll | None = None
        self.brisk: bool = False
        self.profile: str = ""
        self.status: str = "starting"
        self.created: float | None = None
        self.started: float | None = None
        self.confirmed: bool = False
        """Whether *created* is as the listing shows it."""
        self.unlisted: int = 0
        """How often the listing did not show it where it should be."""
        self.passed_over: int = 0
        """How many pages that it was expected on ended before it."""
        self.listed_from: float = now
        """When it may be looked for in the listing."""
        self.attempt: int = 0
        self.changed_at: float = now
        self.ripe_at: float = now
        self.looking: bool = False
        self.active: bool = False


T = TypeVar("T", bound=Item)


class Schedule(Generic[T]):
    """All runs that are waited for, in the order in which they are due."""

    def __init__(self, durations: Durations, dice: Callable[[], float]) -> None:
        self._durations = durations
        self._dice = dice
        self._wheel: Wheel[T] = Wheel()
        self._active = 0
        self._offset = math.inf  # of the caller's clock from the API's

    def __len__(self) -> int:
        return self._active

    def add(self, item: T, due: float | None = None) -> None:
        """Begin to look at *item*, first at *due*, or as the caller sees to it now."""
        if not item.active:
            item.active = True
            self._active += 1
        if due is None:
            self._wheel.drop(item)
        else:
            self.move(item, due)

    def remove(self, item: T) -> None:
        """Look at *item* no more."""
        if item.active:
            item.active = False
            self._active -= 1
            self._wheel.drop(item)

    def move(self, item: T, due: float) -> None:
        """Look at *item* next at *due*."""
        item.looking = False
        self._wheel.put(item, due)

    def next_at(self) -> float | None:
        """Return when something is due next, or None."""
        return self._wheel.next_at()

    def take(self, now: float) -> list[T]:
        """Return what is due; it is not due again before `move`."""
        return [item for item in self._wheel.take(now) if not item.looking]

    def looked(self, item: T, now: float, status: str | None = None) -> None:
        """Note that *item* was looked at, with *status* if it was seen; it is due later."""
        item.attempt += 1
        item.passed_over = 0
        if status is not None and status != item.status:
            item.status = status
            item.changed_at = now
        self.put_off(item, now)

    def put_off(self, item: T, now: float) -> None:
        """Look at *item* after the pause that befits it."""
        pause = self.pause(item, now)
        item.ripe_at = now + pause * _RIPE
        item.looking = False
        self._wheel.put(item, now + pause)

    def dated(self, item: T, now: float, created: float | None, started: float | None) -> None:
        """Note when the API says that *item* was created and began."""
        if item.created is None:
            item.created = created
        if started is not None:
            item.started = started
        latest = item.started or item.created
        if latest is not None:
            # Whoever was seen soonest after it happened tells the clocks apart best.
            self._offset = min(self._offset, now - latest)

    def learn(self, item: T, end: float) -> None:
        """Remember how long *item* took, that ended at *end*."""
        if item.created is not None:
            self._durations.learn(f"{item.profile} in all", end - item.created)
        if item.started is not None:
            self._durations.learn(item.profile, end - item.started)

    def pause(self, item: T, now: float) -> float:
        """Return how many seconds from now *item* should be looked at again."""
        poll = _USUAL if item.poll is None else item.poll
        dice = self._dice()
        usual = poll.delay(item.status, now - item.changed_at, item.attempt + 1, dice)
        if item.poll is not None or item.brisk:
            return usual
        running = item.status == "processing" and item.started is not None
        since = item.started if running else item.created
        typical = self._durations.typical(item.profile if running else f"{item.profile} in all")
        if typical is None or since is None:
            return usual
        age = now - self._offset - since
        step = max((typical.late - typical.early) / _STEPS, typical.early * _FINEST)
        step = min(max(step, _SHORTEST), max(_COARSEST, typical.early / 100))
        step *= 1 - _JITTER * dice
        if age < typical.early - step:
            # A run that fails early is seen before it is twice as old.
            return min(typical.early - age, max(usual, age, typical.early * _EARLY))
        if age <= typical.late:
            return step
        longest = poll.processing if running else poll.starting
        return max(step, min((age - typical.late) * _LATE, longest))
