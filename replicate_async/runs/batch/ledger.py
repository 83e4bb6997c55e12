"""What a batch remembers of its predictions: in its journal, or for as long as it runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Generator, Iterable, Sequence
from contextlib import contextmanager
from time import monotonic, time
from typing import Final

from replicate_async.runs.batch.journal import Entry, Journal, State
from replicate_async.runs.batch.sources import Named

_REMEMBERED: Final = 200


class Ledger:
    """A journal, or nothing at all behind the same methods."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self.opened: float = monotonic()
        """When the journal was opened: the last run of it had sent its last create by then."""
        self._open: set[asyncio.Future[None]] = set()
        self._known: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED)

    @property
    def lasting(self) -> bool:
        """Whether there is a journal."""
        return self._journal is not None

    async def plan(self, items: Sequence[Named]) -> list[Entry | None]:
        """Return the journal's entry for each item, None without one."""
        entries: list[Entry | None] = [None] * len(items)
        if self._journal is None:
            return entries
        places = [at for at, item in enumerate(items) if item.fault is None]
        wanted = [(items[at].index, items[at].key, items[at].digest) for at in places]
        for at, entry in zip(places, await self._journal.plan(wanted), strict=True):
            entries[at] = entry
            if entry.prediction_id and entry.intent_at and entry.state is not State.PLANNED:
                self._known.append((entry.intent_at, entry.prediction_id))
        return entries

    @contextmanager
    def creating(self) -> Generator[None]:
        """Mark a create that is under way until its outcome is recorded."""
        ticket = asyncio.get_running_loop().create_future()
        self._open.add(ticket)
        try:
            yield
        finally:
            self._open.discard(ticket)
            ticket.set_result(None)

    def under_way(self) -> Awaitable[object]:
        """Return what ends when the creates that are now under way are recorded."""
        return _all(set(self._open))

    async def claimed(self, ids: Iterable[str]) -> set[str]:
        """Return those of *ids* that belong to an item already."""
        return set() if self._journal is None else await self._journal.claimed(ids)

    async def claim(self, key: str, prediction_id: str) -> None:
        """Record that a prediction belongs to an item."""
        await self.created(key, prediction_id)

    def expected(self, since: float, until: float) -> set[str]:
        """Return ids of predictions that were created between two times."""
        return {id for at, id in self._known if since < at < until}

    async def intent(self, key: str) -> float:
        """Record that a create is about to be sent, and return when."""
        now = time()
        if self._journal is not None:
            await self._journal.intent(key, now)
        return now

    async def created(self, key: str, prediction_id: str) -> None:
        """Record the prediction of an item."""
        self._known.append((time(), prediction_id))
        if self._journal is not None:
            await self._journal.created(key, prediction_id)

    async def withdrawn(self, key: str) -> None:
        """Record that a create did not happen."""
        if self._journal is not None:
            await self._journal.withdrawn(key)

    async def uncertain(self, key: str) -> None:
        """Record that nobody can tell whether a create happened."""
        if self._journal is not None:
            await self._journal.uncertain(key)

    async def again(self, key: str) -> None:
        """Record that an item will get another prediction, or that none was made for it."""
        if self._journal is not None:
            await self._journal.again(key)

    async def retry(self, key: str) -> None:
        """Record that an item that is done is to be run again."""
        if self._journal is not None:
            await self._journal.retry([key])

    async def done(self, key: str, result: bytes) -> None:
        """Record how an item ended."""
        if self._journal is not None:
            await self._journal.done(key, result)

    async def aclose(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            await self._journal.aclose()


async def _all(tickets: set[asyncio.Future[None]]) -> None:
    if tickets:
        await asyncio.wait(tickets)
