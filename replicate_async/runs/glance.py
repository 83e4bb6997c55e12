"""A run as a page of the listing shows it, decoded as far as somebody needs it."""

from __future__ import annotations

from datetime import datetime
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from replicate_async.core.poll import is_terminal
from replicate_async.schemas import Page, decode_leniently

T = TypeVar("T")

RawPage = Page[Raw]
"""A page whose items are left as they came."""


class Glance(Struct, frozen=True, kw_only=True, gc=False):
    """What a listed run has to say of itself; what was left out of it is UNSET."""

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
        """Whether it has ended."""
        return is_terminal(self.status, self.completed_at is not None)

    @property
    def whole(self) -> bool:
        """Whether it is all that the run's own endpoint would show.

        The API's documents list runs without logs, and years ago items had no input or output
        either. The output of a success may be null, but then it is worth a closer look.
        """
        if self.input is UNSET or self.logs is UNSET or isinstance(self.output, UnsetType):
            return False
        return self.status != "succeeded" or bytes(self.output) != b"null"


_READER: Final = msgspec.json.Decoder(Glance)


def glance(item: Raw) -> Glance | None:
    """Return what *item* says, or None when it cannot be read."""
    try:
        return _READER.decode(item)
    except (msgspec.DecodeError, UnicodeError):
        return decode(item, Glance)


def decode(item: Raw, type: type[T]) -> T | None:
    """Return *item* as a *type*, or None when it cannot be read as one."""
    try:
        try:
            return msgspec.json.decode(item, type=type)
        except (msgspec.DecodeError, UnicodeError):
            return decode_leniently(bytes(item), type)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def seconds(moment: datetime | None) -> float | None:
    """Return *moment* as Unix time, None when there is none or it has no time zone."""
    return None if moment is None or moment.tzinfo is None else moment.timestamp()
