"""The contents of a journal: a header, and one entry for each input.

The states of an entry, and the changes that the journal accepts:

    PLANNED ──> INTENT ──> CREATED ──> DONE ──> FINISHED
       │           │          ^
       │           └─> UNCERTAIN                every state can be reset to PLANNED
       └─────────────> DONE (refused)

An entry is immutable. Its methods return the entry that comes next; `Journal.record` stores it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

FORMAT: Final = 6
"""The format of the file that this version reads and writes."""


class JournalHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The run that a journal belongs to; written when the journal is made.

    A resume must have the same *model*, *version* and *options*; *options* is a digest of all other
    arguments that change a create. ``created_at`` is in seconds since 1970. ``sdk`` is the version
    of this package that made the journal. ``latest_version`` is the version that the first run
    found for a model that cannot be run without one; later runs use the same.
    """

    model: str
    version: str | None = None
    options: str = ""
    sdk: str = ""
    created_at: float = msgspec.field(default_factory=time.time)
    latest_version: str | None = None


class State(StrEnum):
    """The state of an input."""

    PLANNED = "planned"
    """No create was sent, or it certainly created nothing."""
    INTENT = "intent"
    """A create is about to be sent, or was sent, and its outcome is not recorded."""
    CREATED = "created"
    """The ID of its prediction is known."""
    DONE = "done"
    """Its result is recorded, which may be a failure."""
    FINISHED = "finished"
    """Its result is recorded, and the batch's ``finish`` has returned."""
    UNCERTAIN = "uncertain"
    """A create may have happened, and the list of predictions did not tell."""


TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    State.PLANNED: frozenset({State.INTENT, State.DONE}),
    State.INTENT: frozenset({State.PLANNED, State.CREATED, State.UNCERTAIN}),
    State.CREATED: frozenset({State.PLANNED, State.DONE}),
    State.DONE: frozenset({State.PLANNED, State.FINISHED}),
    State.FINISHED: frozenset({State.PLANNED}),
    State.UNCERTAIN: frozenset({State.PLANNED, State.CREATED, State.UNCERTAIN}),
}
"""The states that may follow each state."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One input as the journal knows it."""

    key: str
    digest: str
    index: int
    state: State = State.PLANNED
    attempt: int = 0
    """Creates that happened or may have happened."""
    intent_at: float | None = None
    """When the last create was about to be sent: seconds since 1970, by this machine's clock."""
    window_start: float | None = None
    """The create cannot have happened before this time of the API's clock; None if not known."""
    window_end: float | None = None
    """The list of predictions of this time of the API's clock shows the create if it happened;
    None until a list was read."""
    prediction_id: str | None = None
    done_at: float | None = None
    """When its result was recorded: seconds since 1970."""
    sent: bytes | None = None
    """The input of an open create (see `lost_creates.sent_input`), None if it has the token."""
    result: bytes | None = None
    """The JSON of the result, once the entry is done."""
    value: bytes | None = None
    """The JSON of what ``finish`` returned, once the entry is finished and if it is plain JSON."""

    @property
    def is_open(self) -> bool:
        """Whether a create may have happened whose prediction is not known."""
        return self.state in (State.INTENT, State.UNCERTAIN)

    def intent(
        self, at: float, window_start: float | None = None, sent: bytes | None = None
    ) -> Entry:
        """Return the entry of a create that is about to be sent at *at* seconds since 1970.

        *window_start* is a time that the API's clock already shows, None if that is not known.
        *sent* is the input as it is sent.
        """
        return msgspec.structs.replace(
            self,
            state=State.INTENT,
            attempt=self.attempt + 1,
            intent_at=at,
            window_start=window_start,
            window_end=None,
            sent=sent,
        )

    def created(self, prediction_id: str) -> Entry:
        """Return the entry with the prediction that its create made."""
        return msgspec.structs.replace(
            self, state=State.CREATED, prediction_id=prediction_id, sent=None
        )

    def uncertain(self, window_end: float | None = None) -> Entry:
        """Return the entry of a create of which the list of predictions did not tell."""
        return msgspec.structs.replace(self, state=State.UNCERTAIN, window_end=window_end)

    def done(self, result: bytes, at: float | None = None) -> Entry:
        """Return the entry with its result, the JSON of a prediction that has ended.

        *at* is now, in seconds since 1970, unless it is given.
        """
        done_at = time.time() if at is None else at
        return msgspec.structs.replace(self, state=State.DONE, done_at=done_at, result=result)

    def finished(self, value: bytes | None = None) -> Entry:
        """Return the entry once ``finish`` has returned; *value* is the JSON of what it did."""
        return msgspec.structs.replace(self, state=State.FINISHED, value=value)

    def reset(self) -> Entry:
        """Return the entry planned again; an open create counts as one that did not happen."""
        return Entry(
            key=self.key,
            digest=self.digest,
            index=self.index,
            attempt=self.attempt - self.is_open,
        )
