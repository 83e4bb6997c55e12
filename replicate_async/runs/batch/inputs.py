"""The inputs of a batch: what can be given, and the reader that makes items of them."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
    Sized,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, NamedTuple, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError, ReplicateError
from replicate_async.runs.batch.journal import Entry, Journal, State
from replicate_async.runs.batch.keys import KeyAssigner
from replicate_async.runs.batch.lost_creates.claims import ClaimStore
from replicate_async.runs.batch.results import BatchResult, ItemInput
from replicate_async.schemas import Prediction

_AHEAD: Final = 256
"""Inputs that are read, and as many that are planned, before they can start."""
_TURN: Final = 0.005
"""Seconds of reading after which other tasks get the event loop."""


class Source(NamedTuple):
    """The inputs, and how many there are if that is known."""

    inputs: AsyncIterator[ItemInput]
    total: int | None


def open_source(given: object) -> Source:
    """Return *given* as a source; raises `InvalidArgumentError` if it is not iterable."""
    value: object = given  # without the types that the next lines would narrow it to
    is_one = isinstance(given, Mapping | str | bytes | msgspec.Struct)
    if is_one or not isinstance(given, AsyncIterable | Iterable):
        raise InvalidArgumentError(
            f"inputs={shorten(value)} is a {type(value).__name__} and not many inputs: pass a list "
            'such as [{"prompt": "..."}], a generator, or an asynchronous iterator.'
        )
    total = len(given) if isinstance(given, Sized) else None
    if isinstance(given, AsyncIterable):
        return Source(aiter(cast("AsyncIterable[ItemInput]", given)), total)
    return Source(_steps(cast("Iterable[ItemInput]", given)), total)


async def _steps(given: Iterable[ItemInput]) -> AsyncGenerator[ItemInput]:
    for each in given:
        yield each


@dataclass(slots=True, eq=False)
class Item:
    """An input on its way to a result, and its entry in the journal."""

    entry: Entry
    input: ItemInput
    """As it was given."""
    fault: InvalidArgumentError | None
    """Why it cannot be sent."""
    journal: Journal
    resumed: bool = False
    """Whether an earlier run had started it."""
    prediction: Prediction | None = None
    """The last known state of its prediction."""
    prepared: ItemInput | None = None
    """What ``prepare`` returned for it, until no create can follow."""
    replayed: bool = False
    """Whether its result is from the journal."""

    @property
    def key(self) -> str:
        """Its name in the journal."""
        return self.entry.key

    @property
    def index(self) -> int:
        """The place of the input, from 0."""
        return self.entry.index

    async def record(self, entry: Entry) -> None:
        """Write *entry*, which is the item's from now on."""
        self.entry = entry  # first, because a cancelled record takes effect all the same
        await self.journal.record(entry)

    def result(self, prediction: Prediction | None = None, **more: Any) -> BatchResult[Any]:
        """Return the result of the item, with its times and *more* of its fields."""
        ended = None if prediction is None else prediction.completed_at
        return BatchResult(
            key=self.key,
            index=self.index,
            input=self.input,
            prediction=prediction,
            attempts=self.entry.attempt,
            created_at=None if prediction is None else prediction.created_at,
            finished_at=ended or datetime.now(UTC),
            resumed=self.resumed,
            **more,
        )


class InputReader:
    """Reads the inputs a few hundred ahead, and plans them in the journal in groups."""

    def __init__(
        self,
        source: Source,
        journal: Journal,
        claims: ClaimStore,
        keys: KeyAssigner,
    ) -> None:
        self._source = source
        self._keys = keys
        self._journal = journal
        self._claims = claims
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue(_AHEAD)

    async def items(self) -> AsyncGenerator[Item]:
        """Yield the items in the order of the inputs; then raise what reading the inputs raised.

        Closes the inputs when it is closed.
        """
        reading = asyncio.create_task(self._read())
        try:
            more = True
            while more:
                group, more = await self._next_group()
                await self._plan(group)
                for item in group:
                    yield item
            if (error := await reading) is not None:
                raise error
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            close = getattr(self._source.inputs, "aclose", None)
            if close is not None:
                await close()

    async def _next_group(self) -> tuple[list[Item], bool]:
        """Wait for an item; return it with those that were read, and whether more may come."""
        group = [await self._queue.get()]
        while not self._queue.empty():
            group.append(self._queue.get_nowait())
        return [item for item in group if item is not None], group[-1] is not None

    async def _plan(self, group: list[Item]) -> None:
        """Give the items of *group* their entries in the journal."""
        valid = [item for item in group if item.fault is None]
        new = [(item.index, item.key, item.entry.digest) for item in valid]
        for item, entry in zip(valid, await self._journal.plan(new), strict=True):
            item.entry = entry
            item.resumed = entry.state is not State.PLANNED
            self._claims.remember(entry, entry.window_start)

    async def _read(self) -> BaseException | None:
        """Queue an item for each input, and None after the last; return what ended them early."""
        error: BaseException | None = None
        count, turn = 0, monotonic()
        try:
            async for given in self._source.inputs:
                entry, fault = await self._keys.assign(given)
                await self._queue.put(Item(entry, given, fault, self._journal))
                count += 1
                if monotonic() - turn > _TURN:
                    await asyncio.sleep(0)
                    turn = monotonic()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            error = ReplicateError(
                f"Reading the inputs was cancelled after {count} inputs: the iterator itself "
                "raised CancelledError. See what cancels it."
            )
        except BaseException as raised:  # noqa: BLE001 - it is raised after the items
            error = raised
        await self._queue.put(None)
        return error
