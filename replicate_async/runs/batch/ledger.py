"""What a batch remembers of its predictions: in its journal, or for as long as it runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import time
from typing import Final, NamedTuple

from replicate_async.core.api_clock import ApiClock, Moment, moment
from replicate_async.runs.batch.journal import Entry, Journal, State
from replicate_async.runs.batch.sources import Named

_REMEMBERED: Final = 200


class _Known(NamedTuple):
    """A prediction of the batch, and the API's times between which it was created."""

    id: str
    begun: float
    known: float


class Ledger:
    """A journal, or nothing at all behind the same methods."""

    def __init__(self, journal: Journal | None, clock: ApiClock) -> None:
        self._journal = journal
        self._clock = clock
        self.latest_version: str | None = None
        """The version that the model was found to have when the batch began, if it was needed."""
        if journal is not None:
            self.latest_version = journal.header.latest_version
        self.opened: Moment = moment()
        """When the journal was opened: the last run of it had sent its last create by then."""
        self._open: set[asyncio.Future[None]] = set()
        self._known: deque[_Known] = deque(maxlen=_REMEMBERED)
        self._entries: dict[str, Entry] = {}

    @property
    def lasting(self) -> bool:
        """Whether there is a journal."""
        return self._journal is not None

    async def set_latest_version(self, version: str) -> None:
        """Record the version that the model was found to have."""
        if self._journal is not None:
            await self._journal.set_latest_version(version)
        self.latest_version = version

    async def plan(self, items: Sequence[Named]) -> list[Entry | None]:
        """Return the journal's entry for each item, None without one."""
        entries: list[Entry | None] = [None] * len(items)
        if self._journal is None:
            return entries
        places = [at for at, item in enumerate(items) if item.fault is None]
        wanted = [(items[at].index, items[at].key, items[at].digest) for at in places]
        for at, entry in zip(places, await self._journal.plan(wanted), strict=True):
            entries[at] = entry
            self._entries[entry.key] = entry
            if entry.prediction_id and entry.window_start and entry.state is not State.PLANNED:
                begun = entry.window_start
                self._known.append(_Known(entry.prediction_id, begun, begun))
        return entries

    def creating(self) -> Callable[[], None]:
        """Mark a create as under way; call what this returns when its outcome is recorded."""
        ticket = asyncio.get_running_loop().create_future()
        self._open.add(ticket)

        def over() -> None:
            self._open.discard(ticket)
            if not ticket.done():
                ticket.set_result(None)

        return over

    def under_way(self) -> Awaitable[object]:
        """Return what ends when the creates that are now under way are recorded."""
        return _all(set(self._open))

    async def claimed(self, ids: Iterable[str]) -> set[str]:
        """Return those of *ids* that belong to an item already."""
        return set() if self._journal is None else await self._journal.claimed(ids)

    async def claim(self, key: str, prediction_id: str) -> None:
        """Record that a prediction belongs to an item."""
        await self._record(key, lambda entry: entry.created(prediction_id))

    def expected(self, since: float, until: float) -> set[str]:
        """Return ids of predictions that were created between two times of the API."""
        return {each.id for each in self._known if since < each.begun and each.known < until}

    async def intent(self, key: str) -> tuple[float, float | None]:
        """Record that a create is about to be sent, and return when: here, and by the API's clock.

        The second is a time that the API's clock shows by now, None when that is not known.
        """
        now, earliest = time(), self._clock.earliest()
        await self._record(key, lambda entry: entry.intent(now, earliest))
        return now, earliest

    async def created(self, key: str, prediction_id: str, begun: float | None) -> None:
        """Record the prediction of an item, whose create began at *begun* by the API's clock."""
        if begun is not None and (now := self._clock.latest()) is not None:
            self._known.append(_Known(prediction_id, begun, now))
        await self.claim(key, prediction_id)

    async def reset(self, key: str) -> None:
        """Record that an item has no prediction any more, and gets another."""
        await self._record(key, Entry.reset)

    async def uncertain(self, key: str, window_end: float | None) -> None:
        """Record that it cannot be told whether a create happened.

        *window_end* is a time of the API by which it is in the list if it did.
        """
        await self._record(key, lambda entry: entry.uncertain(window_end))

    async def done(self, key: str, result: bytes) -> None:
        """Record how an item ended."""
        await self._record(key, lambda entry: entry.done(result))

    async def _record(self, key: str, change: Callable[[Entry], Entry]) -> None:
        if self._journal is None:
            return
        before = self._entries[key]
        entry = self._entries[key] = change(before)
        try:
            await self._journal.record(entry)
        except asyncio.CancelledError:
            if entry.state is State.INTENT:
                self._entries[key] = before
            raise

    async def aclose(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            await self._journal.aclose()


async def _all(tickets: set[asyncio.Future[None]]) -> None:
    if tickets:
        await asyncio.wait(tickets)
