"""A create whose outcome is not known: its input, its times, and the verdict about it.

All times are those of the API's clock, as far as its answers show it.
"""

from __future__ import annotations

import asyncio
import math
from typing import NamedTuple

from replicate_async.core.api_clock import ApiClock, Moment
from replicate_async.runs.batch.journal import Entry
from replicate_async.runs.batch.lost_creates.comparison import ComparedInput
from replicate_async.runs.batch.options import BatchTimeouts
from replicate_async.schemas import Prediction


class Found(NamedTuple):
    """The prediction that a create made."""

    id: str
    ended: Prediction | None
    """The prediction, if the list shows its end whole."""


class UndecidedError(Exception):
    """The list of predictions does not show whether a create happened, for a *reason*.

    *window_end* is the API's time of a list that shows the prediction if there is one.
    """

    def __init__(self, reason: str, window_end: float | None = None) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.window_end: float | None = window_end


Window = tuple[float, float]
"""Two times of the API's clock, between which a create happened if it did."""


class LostCreate:
    """A create whose outcome is not known, and the future of its verdict.

    By *lost_at* it had been sent.
    """

    def __init__(
        self, entry: Entry, lost_at: Moment, clock: ApiClock, timeouts: BatchTimeouts
    ) -> None:
        self.entry: Entry = entry
        self.input: ComparedInput = ComparedInput(entry.sent or b"null")
        self.verdict: asyncio.Future[Found | None] = asyncio.get_running_loop().create_future()
        """The prediction that it made, or None if it made none."""
        self.is_certain: bool = False
        """Whether it is known what it made."""
        self._window_end = entry.window_end
        self._lost_at = lost_at
        self._clock = clock
        self._timeouts = timeouts

    @property
    def is_open(self) -> bool:
        """Whether it is not decided."""
        return not self.verdict.done()

    def decide(self, found: Found | None) -> None:
        """Set the verdict, if it is not decided."""
        if self.is_open:
            self.verdict.set_result(found)
            self.is_certain = True

    def fail(self, error: Exception) -> None:
        """Set an error in place of the verdict, if it is not decided."""
        if self.is_open:
            self.verdict.set_exception(error)
            self.verdict.exception()  # its item may never start, and leave it unread
            if isinstance(error, UndecidedError):
                self._window_end = error.window_end or self._window_end

    # When it happened, if it did.

    @property
    def window(self) -> Window:
        """The times between which its prediction was created."""
        start = self.entry.window_start or self.entry.intent_at or 0.0
        margin = self._timeouts.margin
        return start - margin, (self._window_end or math.inf) + margin

    @property
    def _proof_at(self) -> float | None:
        """The time from which a list shows its prediction if there is one; None if not known."""
        if self._window_end is not None:
            return self._window_end
        latest = self._clock.latest(self._lost_at)
        return None if latest is None else latest + self._timeouts.settle

    def is_settled(self, began: Moment) -> bool:
        """Whether a reading that *began* then was late enough, by this machine's clock."""
        proof_at, earliest = self._proof_at, self._clock.earliest(began)
        if proof_at is None or earliest is None:
            return began.awake - self._lost_at.awake >= self._timeouts.settle
        return earliest >= math.ceil(proof_at)  # Date has whole seconds

    def flaw(self, written_at: float) -> str | None:
        """Return why a list of *written_at* does not show all that it may have made.

        None if it does. *written_at* is 0 when the list does not say.
        """
        if self.entry.window_start is None:
            return "the API's time was not known when it was sent"
        if not written_at or self._proof_at is None:
            return "the list of predictions does not say when it was written, or a cache answered"
        if written_at < self._proof_at:
            return "the list of predictions is an old one"
        return None
