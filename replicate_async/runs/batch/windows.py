"""The time windows of lost creates, and the time from which a list proves their absence.

All times are those of the API's clock, as far as its answers show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import time

from replicate_async.core.api_clock import ApiClock, Moment, moment
from replicate_async.runs.batch.lost_create import LostCreate
from replicate_async.runs.batch.matching import Window
from replicate_async.runs.batch.options import BatchTimeouts


@dataclass(frozen=True, slots=True)
class Windows:
    """The times of lost creates, from a clock and the timeouts of a batch."""

    clock: ApiClock
    timeouts: BatchTimeouts

    def start(self, lost: LostCreate) -> float:
        """Return when *lost* began, as far as it is known."""
        if lost.entry.window_start is not None:
            return lost.entry.window_start
        now, intent_at = self.clock.earliest(), lost.entry.intent_at or 0.0
        # This machine's clock may have been set since.
        return intent_at if now is None else now - (time() - intent_at)

    def end(self, lost: LostCreate) -> float | None:
        """Return the time from which a list shows *lost* if it happened; None if not known."""
        if lost.entry.window_end is not None:
            return lost.entry.window_end
        latest = self.clock.latest(lost.lost_at)
        return None if latest is None else latest + self.timeouts.settle

    def of(self, lost: LostCreate) -> Window:
        """Return the times between which the prediction of *lost* was created."""
        margin = self.timeouts.margin
        return self.start(lost) - margin, (lost.entry.window_end or math.inf) + margin

    def of_rival(self, lost: LostCreate) -> Window:
        """Return the same times for a create that is not looked for itself."""
        return self.of(lost)[0], (self.end(lost) or math.inf) + self.timeouts.margin

    def until_proof(self, lost: LostCreate) -> float:
        """Return the fewest seconds until a list can prove that *lost* did not happen."""
        return self._until_end(lost, self.clock.latest, moment())

    def is_settled(self, lost: LostCreate, began: Moment) -> bool:
        """Whether a reading that *began* then was late enough, by this machine's clock."""
        return self._until_end(lost, self.clock.earliest, began) <= 0

    def _until_end(
        self, lost: LostCreate, bound: Callable[[Moment], float | None], at: Moment
    ) -> float:
        end, now = self.end(lost), bound(at)
        if end is None or now is None:
            return lost.lost_at.awake + self.timeouts.settle - at.awake
        return math.ceil(end) - now  # Date has whole seconds

    def flaw(self, lost: LostCreate, written_at: float | None) -> str | None:
        """Return why a list of *written_at* does not show all that *lost* may have made.

        None if it does.
        """
        end = self.end(lost)
        if lost.entry.window_start is None:
            return "the API's time was not known when it was sent"
        if written_at is None or end is None:
            return "the list of predictions does not say when it was written, or a cache answered"
        if written_at < end:
            return "the list of predictions is an old one"
        return None
