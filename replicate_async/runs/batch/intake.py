"""The items of a batch on their way in: read, named and looked up in the journal, a few ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from replicate_async.errors import ReplicateError
from replicate_async.runs.batch.halt import Halt
from replicate_async.runs.batch.journal import Entry, State
from replicate_async.runs.batch.ledger import Ledger
from replicate_async.runs.batch.outbox import Outbox
from replicate_async.runs.batch.sources import Named, Namer, Source
from replicate_async.schemas import Prediction

_AHEAD: Final = 256
"""Items that are read, and as many that are looked up, before they can begin."""
_TURN: Final = 0.005
"""Seconds after which reading lets others have the event loop."""


@dataclass(slots=True)
class Item:
    """An item that can begin, and what the journal had of it."""

    named: Named
    entry: Entry | None
    prediction_id: str | None = None
    ended: Prediction | None = None
    """The end of that prediction, if it was found in the list."""
    running: bool = False
    """Whether its prediction has not ended, as far as is known."""
    intent_at: float = 0.0
    """When its last create began, in seconds since 1970."""
    window_start: float | None = None
    """The same on the API's clock, or some time before; None when that is not known."""
    attempts: int = 0
    repeats: int = 0
    lost: int = 0
    """Creates that broke off and did not happen."""

    @property
    def key(self) -> str:
        """What names it."""
        return self.named.key

    @property
    def resumed(self) -> bool:
        """Whether an earlier run had begun it."""
        entry = self.entry
        return entry is not None and entry.state is not State.PLANNED


class Intake:
    """Hands out the items in their order, when there is space for their results."""

    def __init__(
        self, source: Source, namer: Namer, ledger: Ledger, outbox: Outbox[Any], halt: Halt
    ) -> None:
        self._source = source
        self._namer = namer
        self._ledger = ledger
        self._outbox = outbox
        self._halt = halt
        self._read: deque[Named] = deque()
        self._planned: deque[Item] = deque()
        self._turn = asyncio.Lock()
        self._more = asyncio.Event()
        self._drained = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._count = 0
        self.waiting: int = 0
        """How many wait for an item."""

    async def take(self) -> Item | None:
        """Return the next item, or None when no more is begun.

        Raises what reading the inputs raised, after the items before it.
        """
        self.waiting += 1
        try:
            async with self._turn:
                return await self._next()
        finally:
            self.waiting -= 1

    async def _next(self) -> Item | None:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_ahead())
        while self._halt.reason is None:
            if self._planned:
                if self._outbox.has_space(self._planned[0].named.index):
                    return self._planned.popleft()
                await self._outbox.space()
            elif self._read:
                await self._plan()
            elif self._reader.done():
                if self._reader.cancelled():
                    raise ReplicateError(
                        f"Reading the inputs was cancelled after {self._count} inputs: the "
                        "iterator itself raised CancelledError. See what cancels it."
                    )
                await self._reader
                return None
            else:
                self._more.clear()
                await self._more.wait()
        return None

    async def _plan(self) -> None:
        read = list(self._read)
        self._read.clear()
        self._drained.set()
        for named, entry in zip(read, await self._ledger.plan(read), strict=True):
            attempts = 0 if entry is None else entry.attempt
            self._planned.append(Item(named, entry, attempts=attempts))

    async def _read_ahead(self) -> None:
        turn = monotonic()
        try:
            async for given in self._source.inputs:
                self._read.append(await self._namer.name(given))
                self._count += 1
                self._more.set()
                while len(self._read) >= _AHEAD:
                    self._drained.clear()
                    await self._drained.wait()
                    turn = monotonic()
                if monotonic() - turn > _TURN:
                    await asyncio.sleep(0)
                    turn = monotonic()
        finally:
            self._more.set()

    def wake(self) -> None:
        """Let those who wait look whether the batch is halted."""
        self._more.set()
        self._outbox.wake()

    async def aclose(self) -> None:
        """Read no more, and close inputs that can be closed."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})
            if not reader.cancelled():
                reader.exception()  # it was raised to whoever took the last item, if anybody did
        close = getattr(self._source.inputs, "aclose", None)
        if close is not None:
            await close()
