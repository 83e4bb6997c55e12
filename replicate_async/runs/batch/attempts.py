"""The attempts of one create, with their intents in the journal."""

from __future__ import annotations

from collections.abc import Callable

from replicate_async.core.hooks import RequestHooks
from replicate_async.errors import ReplicateError
from replicate_async.runs.batch.intake import Item
from replicate_async.runs.batch.ledger import Ledger


class NotBegun(ReplicateError):  # noqa: N818 - never raised to users
    """A create that was not sent, because the batch is halted."""


class Attempts(RequestHooks):
    """Records an intent for each attempt: after its permit is there, and before it is sent.

    *admit* says whether an attempt may leave, *ends* whether there will be no other.
    """

    def __init__(
        self,
        item: Item,
        ledger: Ledger,
        admit: Callable[[Attempts], bool],
        ends: Callable[[Attempts], bool],
    ) -> None:
        self._item = item
        self._ledger = ledger
        self._admit = admit
        self._ends = ends
        self._recorded: Callable[[], None] | None = None
        self.version: str | None = ledger.latest_version
        """The version that is asked for, None for the batch's own model or version."""
        self.counted: bool = False
        """Whether the item counts as one of ``max_predictions``."""
        self.sent: bool = False
        """Whether one is being sent, or was and its outcome is not recorded."""

    async def begin(self) -> None:
        """Record the intent of what is sent next."""
        if not self._admit(self):
            raise NotBegun
        self._item.attempts += 1
        self._recorded = self._ledger.creating()
        try:
            times = await self._ledger.intent(self._item.key)
        except BaseException:
            self._item.attempts -= 1
            self.over()
            raise
        self._item.intent_at, self._item.window_start = times
        self.sent = True

    async def refused(self) -> None:
        """Withdraw the intent before another permit is waited for."""
        await self.withdraw()
        if self._ends(self):
            raise NotBegun

    async def withdraw(self) -> None:
        """Withdraw the intent, if there is one: nothing was created."""
        if self.sent:
            await self._ledger.reset(self._item.key)
            self._item.intent_at, self._item.attempts = 0.0, self._item.attempts - 1
            self.over()

    def over(self) -> None:
        """Take note that the outcome is recorded."""
        self.sent = False
        if self._recorded is not None:
            self._recorded()
