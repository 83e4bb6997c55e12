"""A create whose outcome is not known: its input, its times, and the verdicts about it.

All times are those of the API's clock, as far as its answers show it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time

import msgspec

from replicate_async.core.api_clock import ApiClock, Moment, moment
from replicate_async.runs.batch.journal import Entry
from replicate_async.runs.batch.lost_creates.matching import ComparedInput, Window
from replicate_async.runs.batch.options import BatchTimeouts
from replicate_async.schemas import Prediction


@dataclass(frozen=True, slots=True)
class Found:
    """The prediction that the create made, with its end if the list shows that."""

    prediction_id: str
    ended: Prediction | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """The create made no prediction, and may be sent again."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """The list of predictions does not show whether the create happened."""

    reason: str
    window_end: float | None = None
    """The API's time of a list that shows the prediction if there is one, if one was read."""


Verdict = Found | Absent | Undecided


class LostCreate:
    """A create whose outcome is not known, and the future of its verdict.

    By *lost_at* it had been sent.
    """

    def __init__(
        self, entry: Entry, lost_at: Moment, clock: ApiClock, timeouts: BatchTimeouts
    ) -> None:
        self.entry: Entry = entry
        self.input: ComparedInput = ComparedInput(msgspec.json.decode(entry.sent or b"null"))
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.began_at: float = monotonic()
        self._lost_at = lost_at
        self._clock = clock
        self._timeouts = timeouts

    @property
    def is_open(self) -> bool:
        """Whether it is not decided."""
        return not self.verdict.done()

    @property
    def is_certain(self) -> bool:
        """Whether it is known what it made."""
        verdict = self.verdict
        if not verdict.done() or verdict.cancelled() or verdict.exception():
            return False
        return not isinstance(verdict.result(), Undecided)

    def decide(self, verdict: Verdict | Exception) -> None:
        """Set the verdict, or an error in its place, if it is not decided."""
        if not self.is_open:
            return
        if isinstance(verdict, Exception):
            self.verdict.set_exception(verdict)
            self.verdict.exception()  # its item may never start, and leave it unread
        else:
            self.verdict.set_result(verdict)

    # When it happened, if it did.

    @property
    def window(self) -> Window:
        """The times between which its prediction was created."""
        start, margin = self.entry.window_start, self._timeouts.margin
        if start is None:
            now, intent_at = self._clock.earliest(), self.entry.intent_at or 0.0
            # This machine's clock may have been set since.
            start = intent_at if now is None else now - (time() - intent_at)
        return start - margin, (self.entry.window_end or math.inf) + margin

    @property
    def window_of_rival(self) -> Window:
        """The same times for a create that is not looked for itself."""
        return self.window[0], (self._end or math.inf) + self._timeouts.margin

    @property
    def _end(self) -> float | None:
        """The time from which a list shows its prediction if there is one; None if not known."""
        if self.entry.window_end is not None:
            return self.entry.window_end
        latest = self._clock.latest(self._lost_at)
        return None if latest is None else latest + self._timeouts.settle

    def until_proof(self) -> float:
        """Return the fewest seconds until a list can prove that it did not happen."""
        return self._until_end(self._clock.latest, moment())

    def is_settled(self, began: Moment) -> bool:
        """Whether a reading that *began* then was late enough, by this machine's clock."""
        return self._until_end(self._clock.earliest, began) <= 0

    def _until_end(self, bound: Callable[[Moment], float | None], at: Moment) -> float:
        end, now = self._end, bound(at)
        if end is None or now is None:
            return self._lost_at.awake + self._timeouts.settle - at.awake
        return math.ceil(end) - now  # Date has whole seconds

    def flaw(self, written_at: float | None) -> str | None:
        """Return why a list of *written_at* does not show all that it may have made.

        None if it does.
        """
        if self.entry.window_start is None:
            return "the API's time was not known when it was sent"
        if written_at is None or self._end is None:
            return "the list of predictions does not say when it was written, or a cache answered"
        if written_at < self._end:
            return "the list of predictions is an old one"
        return None
