"""When to poll each of many runs: a heap of due times, and the pause before the next poll.

Nothing here reads a clock: the caller passes the time. Times of the API (*created*, *started*) are
Unix times, all others are those of the caller's clock.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

from replicate_async.core.durations import Durations
from replicate_async.core.poll import Poll

__all__ = ["PollSchedule", "PolledRun"]

_STALE: Final = 64
"""Entries of removed runs that the heap may hold besides as many as there are runs."""

_RIPE: Final = 0.7
"""The share of its pause after which a page that shows a run replaces the run's own poll."""

_STEPS: Final = 5
"""Polls while a run is likely to end."""

_FINEST: Final = 0.1
_SHORTEST: Final = 0.05
_COARSEST: Final = 1.6
"""The step between these polls: a tenth of the shortest duration or more, 0.05 seconds or more,
and 1.6 seconds (or a hundredth of the shortest duration) or less."""

_EARLY: Final = 0.1
_LATE: Final = 0.25
_JITTER: Final = 0.2
_USUAL: Final = Poll()


@dataclass(slots=True, eq=False)
class PolledRun:
    """The state of a run on which its next poll depends."""

    key: str
    changed_at: float
    """When the status was first seen."""
    _: KW_ONLY
    due: float = 0.0
    """When its next poll is due, as was set last."""
    push_id: int = 0
    """The push that set it; 0 for a run that is not in the schedule."""
    poll_sent_at: float | None = None
    """When its poll, or a page that should show it, was queued or sent; None while neither is."""
    status: str = "starting"
    poll: Poll | None = None
    """The pace that its subscribers gave."""
    wants_updates: bool = False
    """Whether a subscriber wants each change, and not only the end."""
    version: tuple[str | None, str | None] | None = None
    """The model and version, by which durations are known."""
    created: float | None = None
    started: float | None = None
    polls: int = 0
    """Polls that were answered."""
    ripe_at: float = 0.0
    """When a page that shows it replaces its own poll."""
    deferred_at: float | None = None
    """Since when it waits for a page, while none may be fetched."""
    confirmed: bool = False
    """Whether *created* is what the listing shows."""
    unlisted: int = 0
    """Pages that should have shown it and did not."""
    passed_over: int = 0
    """Pages in a row that ended before it."""
    listed_from: float = 0.0
    """When a page may be expected to show it."""


R = TypeVar("R", bound=PolledRun)


class PollSchedule(Generic[R]):
    """The next polls of all runs: a `heapq` with lazy deletion; *jitter* is uniform in [0, 1)."""

    __slots__ = ("_durations", "_heap", "_jitter", "_offset", "_pushes", "_runs")

    def __init__(self, durations: Durations, jitter: Callable[[], float]) -> None:
        self._durations = durations
        self._jitter = jitter
        self._heap: list[tuple[float, int, R]] = []
        self._runs = 0
        self._pushes = 0
        self._offset = math.inf

    def __len__(self) -> int:
        return self._runs

    def push(self, run: R, due: float) -> None:
        """Schedule the next poll of *run* at *due*, and at no other time."""
        if run.push_id:
            self.discard(run)
        self._runs += 1
        self._pushes += 1
        run.due, run.push_id, run.poll_sent_at = due, self._pushes, None
        heappush(self._heap, (due, self._pushes, run))

    def push_next(self, run: R, now: float) -> None:
        """Schedule the next poll of *run* after its usual pause."""
        pause = self.pause(run, now)
        run.ripe_at = now + pause * _RIPE
        self.push(run, now + pause)

    def discard(self, run: R) -> None:
        """Remove *run* if it is scheduled."""
        if run.push_id:
            run.push_id = 0
            self._runs -= 1
            if len(self._heap) > 2 * self._runs + _STALE or not self._runs:
                self._heap = [entry for entry in self._heap if entry[2].push_id == entry[1]]
                heapify(self._heap)

    def next_due(self) -> float:
        """Return the earliest due time, infinity without runs."""
        heap = self._heap
        while heap and heap[0][2].push_id != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else math.inf

    def pop_due(self, now: float, limit: int = sys.maxsize) -> list[R]:
        """Remove and return the first *limit* runs that are due at *now*, in order."""
        heap, popped = self._heap, list[R]()
        while heap and heap[0][0] <= now and len(popped) < limit:
            _, push_id, run = heappop(heap)
            if run.push_id == push_id:
                run.push_id = 0
                popped.append(run)
        self._runs -= len(popped)
        return popped

    def set_times(self, run: R, created: float | None, started: float | None, now: float) -> None:
        """Note when the API says that *run* was created and started."""
        if run.created is None:
            run.created = created
        if started is not None:
            run.started = started
        latest = run.started or run.created
        if latest is not None:
            # The smallest lag is the best estimate of the clock offset.
            self._offset = min(self._offset, now - latest)

    def pause(self, run: R, now: float) -> float:
        """Return the seconds until the next poll of *run*.

        Without a given pace, polls are few until runs of the model usually end, close together
        then, and rare after that.
        """
        poll = _USUAL if run.poll is None else run.poll
        jitter = self._jitter()
        usual = poll.delay(run.status, now - run.changed_at, run.polls + 1, jitter)
        if run.poll is not None or run.wants_updates or run.version is None:
            return usual
        running = run.status == "processing" and run.started is not None
        since = run.started if running else run.created
        typical = self._durations.typical(*run.version, queued=not running)
        if typical is None or since is None:
            return usual
        age = now - self._offset - since
        step = max((typical.late - typical.early) / _STEPS, typical.early * _FINEST)
        step = min(max(step, _SHORTEST), max(_COARSEST, typical.early / 100))
        step *= 1 - _JITTER * jitter
        if age < typical.early - step:
            # A run that fails early is seen before it is twice as old.
            return min(typical.early - age, max(usual, age, typical.early * _EARLY))
        if age <= typical.late:
            return step
        longest = poll.processing if running else poll.starting
        return max(step, min((age - typical.late) * _LATE, longest))
