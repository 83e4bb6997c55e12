"""A run as a page of the listing shows it, decoded as far as it is needed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from replicate_async.core.poll import is_terminal
from replicate_async.schemas import Page, decode_leniently

T = TypeVar("T")

RawPage = Page[Raw]
"""A page whose items are not decoded."""


class ListedRun(Struct, frozen=True, kw_only=True, gc=False):
    """The parts of a listed run that a wait needs; a part that is left out is UNSET."""

    id: str
    status: str
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    input: Raw | UnsetType = UNSET
    output: Raw | UnsetType = UNSET
    logs: Raw | UnsetType = UNSET

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return is_terminal(self.status, self.completed_at is not None)

    @property
    def is_complete(self) -> bool:
        """Whether it shows all that the run's own endpoint shows.

        The API's documents list runs without logs, and older ones without input and output. A
        success whose output is null counts as incomplete.
        """
        if self.input is UNSET or self.logs is UNSET or isinstance(self.output, UnsetType):
            return False
        return self.status != "succeeded" or bytes(self.output) != b"null"


def decode(item: Raw, type: type[T]) -> T | None:
    """Decode *item* as a *type*, to None when it is malformed."""
    try:
        try:
            return msgspec.json.decode(item, type=type)
        except (msgspec.DecodeError, UnicodeError):
            return decode_leniently(bytes(item), type)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def unix_time(moment: datetime | None) -> float | None:
    """Return *moment* as Unix time, None without a time zone."""
    return None if moment is None or moment.tzinfo is None else moment.timestamp()


def moment(unix: float | None) -> datetime | None:
    """Return the time of *unix*, the inverse of `unix_time`."""
    return None if unix is None else datetime.fromtimestamp(unix, UTC)
