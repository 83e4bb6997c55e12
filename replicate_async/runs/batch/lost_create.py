"""A create whose outcome is not known, and the verdicts about it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic

import msgspec

from replicate_async.core.api_clock import Moment
from replicate_async.runs.batch.journal import Entry, State
from replicate_async.runs.batch.matching import ComparedInput
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
    """A create whose outcome is not known, and the future of its verdict."""

    def __init__(self, entry: Entry, lost_at: Moment) -> None:
        self.entry: Entry = entry
        self.input: ComparedInput = ComparedInput(msgspec.json.decode(entry.sent or b"null"))
        self.lost_at: Moment = lost_at
        """A moment by which it had been sent."""
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.began_at: float = monotonic()

    @property
    def is_patient(self) -> bool:
        """Whether the list is read again when it cannot be read; else one failure is enough."""
        return self.entry.state is State.INTENT

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

    def decide(self, verdict: Verdict) -> None:
        """Set the verdict, if it is not decided."""
        if self.is_open:
            self.verdict.set_result(verdict)

    def fail(self, error: Exception) -> None:
        """Set *error* in place of the verdict, if it is not decided."""
        if self.is_open:
            self.verdict.set_exception(error)
            self.verdict.exception()  # its item may never start, and leave it unread
