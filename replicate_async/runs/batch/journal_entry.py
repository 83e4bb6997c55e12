"""What a journal holds: whose it is, and one entry for each input."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Final

import msgspec

FORMAT: Final = 2
"""The format of the file that this version reads and writes."""


class JournalHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal belongs to, written when it is made.

    A resume must agree in *model*, *version* and *options*, which stands for whatever else changes
    what is asked of the model. ``created_at`` is in seconds since 1970, ``sdk`` the version of this
    package that made the journal. ``latest_version`` is the version that a model without one was
    found to have at the first run, and keeps in the next ones.
    """

    model: str
    version: str | None = None
    options: str = ""
    sdk: str = ""
    format: int = FORMAT
    created_at: float = msgspec.field(default_factory=time.time)
    latest_version: str | None = None


class State(StrEnum):
    """How far an input has come."""

    PLANNED = "planned"
    """Nothing was sent for it, or what was sent was refused for certain."""
    INTENT = "intent"
    """A create may be under way, or may have happened."""
    CREATED = "created"
    """Its prediction is known by id."""
    DONE = "done"
    """It has a result, which may be a failure."""
    UNCERTAIN = "uncertain"
    """A create may have happened, and nobody could tell; it is not sent again unless that is found
    out, or the user asks for it."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One input as the journal knows it.

    ``attempt`` counts the creates that were begun, ``intent_at`` is when the last one was, in
    seconds since 1970 on this machine's clock. ``window_start`` is a time on the API's clock
    before which that create cannot have happened, None when it was not known; ``window_end`` one by
    which it must be in the list of predictions, None until a list of then was read. ``result`` is
    the JSON that was given to `Journal.done`.
    """

    key: str
    digest: str
    index: int
    state: State
    attempt: int = 0
    intent_at: float | None = None
    window_start: float | None = None
    window_end: float | None = None
    prediction_id: str | None = None
    result: bytes | None = None
