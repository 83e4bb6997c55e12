"""When to poll each of many runs: their due times, and the pause before the next poll.

Nothing here reads a clock: the caller passes the time. Times of the API (*created*, *started*) are
Unix times, all others are those of the caller's clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Final, TypeVar

from replicate_async.core.due_heap import DueHeap
from replicate_async.core.durations import Durations
from replicate_async.core.poll import Poll

__all__ = ["PollSchedule", "PolledRun"]

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
    placed: bool = False
    """Whether a `ListingPlan` has it in its place."""


R = TypeVar("R", bound=PolledRun)


class PollSchedule(DueHeap[R]):
    """The next polls of all runs; *jitter* is uniform in [0, 1)."""

    __slots__ = ("_durations", "_jitter", "_offset")

    def __init__(self, durations: Durations, jitter: Callable[[], float]) -> None:
        super().__init__()
        self._durations = durations
        self._jitter = jitter
        self._offset = math.inf

    def push(self, item: R, due: float) -> None:
        """Schedule the next poll of a run at *due*, and at no other time."""
        item.poll_sent_at = None
        super().push(item, due)

    def push_next(self, run: R, now: float) -> None:
        """Schedule the next poll of *run* after its usual pause."""
        pause = self.pause(run, now)
        run.ripe_at = now + pause * _RIPE
        self.push(run, now + pause)

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
