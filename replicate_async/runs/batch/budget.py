"""What the predictions of a batch used and cost, and how many may be created."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from replicate_async.core.usage import ModelUsage, Price, cost_of, usage_of
from replicate_async.errors import InvalidArgumentError
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.journal import Journal, State
from replicate_async.runs.batch.options import BatchOptions
from replicate_async.runs.batch.result_codec import StoredResult, read_stored
from replicate_async.runs.batch.stats import BatchStats
from replicate_async.schemas import Prediction

_ROUNDING: Final = 1 + 1e-9
"""Three times 0.1 is more than 0.3 in floating point."""
_MAY_RUN: Final = frozenset({State.INTENT, State.UNCERTAIN, State.CREATED})


class Budget:
    """Adds up the predictions that have ended, and keeps *max_predictions* and *max_cost*.

    A prediction that may run counts at the highest cost that was seen. While none was seen, one
    item runs at a time. An item for which there is no room waits until others cost less than that,
    or get no prediction; when nothing else runs, *stop* is called with the name of the limit.
    """

    def __init__(
        self,
        options: BatchOptions,
        price: Callable[[str | None], Price | None],
        stats: BatchStats,
        stop: Callable[[str, Exception | None], object],
    ) -> None:
        self.skipped: str | None = None
        """The limit for which an item was skipped that precedes results of earlier runs."""
        if price(None) is not None:
            stats.usage = ModelUsage(cost=0.0)
        self._left = math.inf if options.max_predictions is None else options.max_predictions
        """Predictions that may still be created."""
        self._most = options.max_cost
        self._price = price
        self._stats = stats
        self._stop = stop
        self._spent = 0.0
        self._highest = 0.0
        self._running: set[str] = set()
        """The keys of items whose prediction may run, or may be created next."""
        self._earlier: frozenset[str] = frozenset()
        """Those of them that an earlier run has created."""
        self._last = -1
        """Where the last item is that an earlier run has started."""
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def load(self, journal: Journal) -> None:
        """Count what earlier runs of the batch have spent."""
        if self._most is None:
            return
        async for entry in journal.entries():
            if entry.state is not State.PLANNED:
                self._last = max(self._last, entry.index)
            if entry.state in _MAY_RUN:
                self._running.add(entry.key)
            elif entry.result is not None:
                stored = read_stored(entry.result)
                if stored.batch.refusal is None:  # else nothing was created
                    self._spend(self._cost(stored, None))
        self._earlier = frozenset(self._running)

    def count(self, item: Item, ended: Prediction) -> None:
        """Count the prediction of *item*, which has ended."""
        cost = self._cost(ended, ended.model)
        self._stats.usage += usage_of(ended.metrics or {}, cost)
        self._running.discard(item.key)
        self._spend(cost)

    async def reserve(self, item: Item) -> bool:
        """Wait until *item* may create; False if it may not."""
        self._running.discard(item.key)  # a create that was lost has not happened
        self._stats.running -= 1
        self._changed.set()
        try:
            async with self._turn:
                while (limit := self._reached()) is not None:
                    if self._stats.running == 0:  # nothing can change
                        self._refuse(item, limit)
                        return False
                    self._changed.clear()
                    await self._changed.wait()
                self._left -= 1
                self._running.add(item.key)
                return True
        finally:
            self._stats.running += 1

    def give_back(self) -> None:
        """Let another item create in place of one that certainly gets no prediction."""
        self._left += 1

    def release(self, item: Item) -> None:
        """Count *item* no more, which is over, unless its prediction may still run."""
        if item.entry.state not in _MAY_RUN:
            self._running.discard(item.key)
        self._changed.set()

    def _refuse(self, item: Item, limit: str) -> None:
        """Stop the batch at *limit*, but skip an item before results that are paid."""
        if item.index < self._last:
            self.skipped = limit
        else:
            self._stop(limit, None)

    def _reached(self) -> str | None:
        """Return the limit that another prediction would exceed."""
        if self._left <= 0:
            return "max_predictions"
        return None if self._most is None or self._has_room(self._most) else "max_cost"

    def _has_room(self, most: float) -> bool:
        if self._highest == 0:
            return self._running <= self._earlier and self._stats.running == 0 and most > 0
        return self._spent + (len(self._running) + 1) * self._highest <= most * _ROUNDING

    def _spend(self, cost: float | None) -> None:
        self._spent += cost or 0.0
        self._highest = max(self._highest, cost or 0.0)
        self._changed.set()

    def _cost(self, ended: Prediction | StoredResult, model: str | None) -> float | None:
        """Return the cost of a prediction, which is 0 where the price fails.

        With *max_cost*, a price that fails for a success stops the batch. Others may lack metrics.
        """
        price = self._price(model)
        if price is None:
            return None
        try:
            return cost_of(price, ended.metrics or {})
        except Exception as error:  # noqa: BLE001 - the user's function; the usage of the client logs it
            if self._most is not None and ended.status == "succeeded":
                failed = InvalidArgumentError(
                    f"The price in prices= failed for metrics {ended.metrics}: "
                    f"{type(error).__name__}: {error}. Without it, max_cost= cannot be kept."
                )
                failed.__cause__ = error
                self._stop("error", failed)
            return 0.0
