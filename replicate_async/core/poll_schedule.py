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

__all__ = ["DueHeap", "PollSchedule", "PolledRun", "Scheduled"]

_STALE: Final = 64
"""Removed entries that a heap may hold besides as many as are left."""

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


@dataclass(slots=True, eq=False, kw_only=True)
class Scheduled:
    """An entry of one `DueHeap`."""

    due: float = 0.0
    """The due time that was set last."""
    push_id: int = 0
    """The push that set it; 0 for an entry that is not in the heap."""


S = TypeVar("S", bound=Scheduled)


class DueHeap(Generic[S]):
    """Entries in the order of their due times: a `heapq` with lazy deletion."""

    __slots__ = ("_entries", "_heap", "_pushes")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, S]] = []
        self._entries = 0
        self._pushes = 0

    def __len__(self) -> int:
        return self._entries

    def push(self, entry: S, due: float) -> None:
        """Add *entry*, or move it to another due time."""
        if not entry.push_id:
            self._entries += 1
        self._pushes += 1
        entry.due, entry.push_id = due, self._pushes
        heappush(self._heap, (due, self._pushes, entry))
        if len(self._heap) > 2 * self._entries + _STALE:
            self._compact()

    def discard(self, entry: S) -> None:
        """Remove *entry* if it is in the heap."""
        if entry.push_id:
            entry.push_id = 0
            self._entries -= 1
            if len(self._heap) > 2 * self._entries + _STALE or not self._entries:
                self._compact()

    def next_due(self) -> float:
        """Return the earliest due time, infinity without entries."""
        heap = self._heap
        while heap and heap[0][2].push_id != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else math.inf

    def pop_due(self, now: float, limit: int = sys.maxsize) -> list[S]:
        """Remove and return the first *limit* entries that are due at *now*, in order."""
        heap, popped = self._heap, list[S]()
        while heap and heap[0][0] <= now and len(popped) < limit:
            _, push_id, entry = heappop(heap)
            if entry.push_id == push_id:
                entry.push_id = 0
                popped.append(entry)
        self._entries -= len(popped)
        return popped

    def _compact(self) -> None:
        self._heap = [item for item in self._heap if item[2].push_id == item[1]]
        heapify(self._heap)


@dataclass(slots=True, eq=False)
class PolledRun(Scheduled):
    """The state of a run on which its next poll depends."""

    key: str
    changed_at: float
    """When the status was first seen."""
    _: KW_ONLY
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
    poll_sent_at: float | None = None
    """When its poll, or a page that should show it, was queued or sent; None while neither is."""
    ripe_at: float = 0.0
    """When a page that shows it replaces its own poll."""
    confirmed: bool = False
    """Whether *created* is what the listing shows."""
    unlisted: int = 0
    """Pages that should have shown it and did not."""
    passed_over: int = 0
    """Pages in a row that ended before it."""
    listed_from: float = 0.0
    """When a page may be expected to show it."""


R = TypeVar("R", bound=PolledRun)


class PollSchedule(DueHeap[R]):
    """The next polls of all runs; *jitter* is uniform in [0, 1)."""

    __slots__ = ("_durations", "_jitter", "_offset")

    def __init__(self, durations: Durations, jitter: Callable[[], float]) -> None:
        super().__init__()
        self._durations = durations
        self._jitter = jitter
        self._offset = math.inf

    def push(self, entry: R, due: float) -> None:
        """Schedule the next poll of the run *entry* at *due*."""
        entry.poll_sent_at = None
        super().push(entry, due)

    def push_next(self, run: R, now: float) -> None:
        """Schedule the next poll of *run* after its usual pause."""
        pause = self.pause(run, now)
        run.ripe_at, run.poll_sent_at = now + pause * _RIPE, None
        super().push(run, now + pause)

    def answered(self, run: R, now: float) -> None:
        """Note that a poll of *run* was answered, and schedule the next one."""
        run.polls += 1
        run.passed_over = 0
        self.push_next(run, now)

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
