"""The attempts of one create, with their intents in the journal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from time import time
from typing import Any

from replicate_async.core.hooks import RequestHooks
from replicate_async.runs.batch.context import BatchContext
from replicate_async.runs.batch.errors import NotStartedError
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.journal import State
from replicate_async.runs.batch.json_tree import map_leaves
from replicate_async.runs.batch.lost_creates.sent_input import canonical, normalize


class CreateAttempt(RequestHooks):
    """Records an intent for each attempt: after its permit is there, and before it is sent."""

    def __init__(self, batch: BatchContext, item: Item) -> None:
        self._batch = batch
        self._item = item
        self._input: bytes | None = None
        """The input as it is sent, by which a lost create is found in the list of predictions."""
        self._recorded: Callable[[], None] | None = None
        self.is_refused: bool = False
        """Whether the API has refused it, and the refusal may not be recorded yet."""

    @property
    def is_sent(self) -> bool:
        """Whether an attempt is being sent, or was sent and its outcome is not recorded."""
        return self._recorded is not None

    @property
    def is_open(self) -> bool:
        """Whether its outcome is not recorded, so that a stop waits for it."""
        return self.is_sent or self.is_refused or self._item.entry.is_open

    def check(self) -> None:
        """Raise `NotStartedError` once the batch is stopped."""
        if self._batch.stats.stopped is not None:
            raise NotStartedError

    def sending(self, input: Mapping[str, Any], secrets: Collection[str]) -> None:
        """Keep the input as it is sent, without its secrets, unless the API token is in it."""
        if self._batch.journal.persistent:
            shown = map_leaves(input, lambda leaf: None if leaf in secrets else leaf)
            found = canonical(normalize(shown if secrets else input))
            self._input = None if self._batch.api.holds_token(found) else found

    async def begin(self) -> None:
        """Record the intent of the attempt that is sent next."""
        item = self._item
        if item.entry.state is not State.PLANNED:  # not before: a stop keeps the failure
            await item.record(item.entry.reset())
            item.ended = None
        intent = item.entry.intent(time(), self._batch.api.clock.earliest(), self._input)
        await self._batch.journal.record(intent)
        item.entry = intent
        self._recorded = self._batch.claims.creating()

    async def refused(self) -> None:
        """Withdraw the intent before another permit is waited for."""
        await self.withdraw()
        self.check()

    async def withdraw(self) -> None:
        """Reset the entry, if an intent is recorded: nothing was created."""
        if self._item.entry.state is State.INTENT:
            await self._item.record(self._item.entry.reset())
        self.over()

    def over(self) -> None:
        """Mark the outcome as recorded."""
        if self._recorded is not None:
            self._recorded()
            self._recorded = None
