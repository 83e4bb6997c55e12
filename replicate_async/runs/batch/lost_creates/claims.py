"""The creates of a run of a batch: those under way, and the predictions of the last ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple
from weakref import WeakSet

from replicate_async.core.api_clock import Moment, moment
from replicate_async.runs.batch.journal import Entry

_REMEMBERED: Final = 200


class _Known(NamedTuple):
    """When a prediction of the batch was created, by two times of the API's clock, and of what."""

    begun: float
    known: float
    digest: str


class ClaimStore:
    """The creates under way and the last predictions of a batch, for the reconciler."""

    def __init__(self) -> None:
        self.opened: Moment = moment()
        """When the journal was opened: earlier runs had sent their last create by then."""
        self._open: WeakSet[asyncio.Event] = WeakSet()
        """Events of creates whose outcomes are not recorded."""
        self._known: dict[str, _Known] = {}

    def creating(self) -> Callable[[], None]:
        """Register a create that is under way; call the result when its outcome is recorded."""
        recorded = asyncio.Event()
        self._open.add(recorded)
        return recorded.set

    async def under_way(self) -> None:
        """Wait until the outcomes of the creates that are now under way are recorded."""
        for recorded in list(self._open):
            await recorded.wait()

    def remember(self, entry: Entry, known: float | None) -> None:
        """Remember the prediction of *entry*, which was there at the API's time *known*."""
        if entry.prediction_id is not None and entry.window_start is not None and known is not None:
            self._known[entry.prediction_id] = _Known(entry.window_start, known, entry.digest)
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]

    def expected(self, since: float, until: float) -> set[str]:
        """Return the IDs that a list has to show between two times of the API's clock."""
        known = self._known.items()
        return {id for id, each in known if since < each.begun and each.known < until}

    def digest(self, id: str) -> str:
        """Return the digest of the input of a remembered prediction; empty if there is none."""
        known = self._known.get(id)
        return known.digest if known else ""
