"""The attempts of one create, with their intents in the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import Any

from replicate_async.core.hooks import RequestHooks
from replicate_async.errors import ReplicateError
from replicate_async.runs.batch.context import BatchContext
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.sent_input import canonical, normalize
from replicate_async.runs.batch.stop_signal import StopSignal


class NotStartedError(ReplicateError):
    """A create that was not sent, because the batch starts nothing more; never raised to users."""


class CreateLimit:
    """Decides whether a create may leave: the batch is not stopped, and ``max_predictions`` holds.

    An item that is counted may create though the number is reached: it is one of them.
    """

    def __init__(self, most: int | None, stop: StopSignal) -> None:
        self._most = most
        self._stop = stop
        self._count = 0

    def allows(self, item: Item) -> bool:
        """Whether *item* may create; sets the stop signal when the number is reached."""
        if item.counted:
            return self._stop.reason in (None, "max_predictions")
        if self._most is not None and self._count >= self._most:
            self._stop.set("max_predictions")
        return self._stop.reason is None

    def count(self, item: Item) -> None:
        """Count *item* as one of the predictions; raises `NotStartedError` if it may not create."""
        if not self.allows(item):
            raise NotStartedError
        self._count += not item.counted
        item.counted = True

    def discount(self, item: Item) -> None:
        """Take *item* out of the count: it gets no prediction."""
        self._count -= item.counted
        item.counted = False


class CreateAttempt(RequestHooks):
    """Records an intent for each attempt: after its permit is there, and before it is sent."""

    def __init__(self, batch: BatchContext, item: Item, limit: CreateLimit) -> None:
        self._batch = batch
        self._item = item
        self._limit = limit
        self._input: bytes | None = None
        """The input as it is sent, by which a lost create is found in the list of predictions."""
        self._recorded: Callable[[], None] | None = None
        self.version: str | None = batch.journal.header.latest_version
        """The version to run, None for the batch's own model or version."""
        self.sent: bool = False
        """Whether an attempt is being sent, or was sent and its outcome is not recorded."""

    def sending(self, input: Mapping[str, Any]) -> None:
        """Keep the input as it is sent, unless the API token is in it."""
        if self._batch.journal.persistent:
            found = canonical(normalize(input))
            self._input = None if self._batch.api.holds_token(found) else found

    @property
    def is_stopped(self) -> bool:
        """Whether no attempt is under way and none may follow."""
        return not self.sent and not self._limit.allows(self._item)

    async def begin(self) -> None:
        """Record the intent of the attempt that is sent next."""
        self._limit.count(self._item)
        self._recorded = self._batch.claims.creating()
        try:
            earliest = self._batch.api.clock.earliest()
            intent = self._item.entry.intent(time(), earliest, self._input)
            await self._batch.journal.record(intent)
        except BaseException:
            self.over()
            raise
        self._item.entry = intent
        self.sent = True

    async def refused(self) -> None:
        """Withdraw the intent before another permit is waited for."""
        await self.withdraw()
        if self.is_stopped:
            raise NotStartedError

    async def withdraw(self) -> None:
        """Reset the entry, if an intent is recorded: nothing was created."""
        if self.sent:
            await self._item.record(self._item.entry.reset())
            self.over()

    def over(self) -> None:
        """Mark the outcome as recorded."""
        self.sent = False
        if self._recorded is not None:
            self._recorded()
