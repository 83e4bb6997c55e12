"""The creates of a run of a batch: those under way, and the predictions of the last ones."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple
from weakref import WeakSet

from replicate_async.core.api_clock import Moment, moment
from replicate_async.runs.batch.journal import Entry

_REMEMBERED: Final = 200


class _Known(NamedTuple):
    """A prediction of the batch, and the API's times between which it was created."""

    id: str
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
        self._known: deque[_Known] = deque(maxlen=_REMEMBERED)

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
            self._known.append(_Known(entry.prediction_id, entry.window_start, known, entry.digest))

    def expected(self, since: float, until: float) -> set[str]:
        """Return the IDs that a list has to show between two times of the API's clock."""
        return {each.id for each in self._known if since < each.begun and each.known < until}

    def digests(self) -> dict[str, str]:
        """Return the digests of the inputs of remembered predictions, by ID."""
        return {each.id: each.digest for each in self._known if each.digest}
