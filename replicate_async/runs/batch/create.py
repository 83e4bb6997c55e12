"""Creating the prediction of an item, once and not twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from time import monotonic, time
from typing import Any, Final

from replicate_async.core.api_clock import Moment, moment
from replicate_async.core.endpoint import shorten
from replicate_async.core.hooks import RequestHooks
from replicate_async.errors import (
    AmbiguousCreateError,
    AmbiguousDecodeError,
    APIConnectionError,
    APIStatusError,
    InvalidArgumentError,
    LimiterError,
    NotFoundError,
    ReplicateError,
)
from replicate_async.files.inputs import is_record, without_field
from replicate_async.interface.read import Interface
from replicate_async.runs.batch.breaker import CircuitBreaker
from replicate_async.runs.batch.context import BatchContext
from replicate_async.runs.batch.errors import (
    MAX_LOST,
    ItemError,
    broke_off,
    is_fatal,
    is_transient,
    prepare_failed,
    uncertain,
    was_cancelled,
)
from replicate_async.runs.batch.functions import call, wait_for
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.journal import State
from replicate_async.runs.batch.json_tree import map_leaves
from replicate_async.runs.batch.lost_creates.lost_create import UndecidedError
from replicate_async.runs.batch.lost_creates.reconciler import Reconciler
from replicate_async.runs.batch.lost_creates.sent_input import canonical
from replicate_async.runs.batch.results import ItemInput
from replicate_async.runs.repeats import pause_before
from replicate_async.schemas import Prediction

MAX_CREATING: Final = 32
"""Creates under way at a time. More are not faster at the API's limits, and each is one to look for
when the process is killed."""


class CreateAttempt(RequestHooks):
    """Records an intent for each attempt: after its permit is there, and before it is sent."""

    def __init__(self, batch: BatchContext, item: Item) -> None:
        self._batch = batch
        self._item = item
        self._input: bytes | None = None
        """The input as it is sent, by which a lost create is found in the list of predictions."""
        self._recorded: Callable[[], None] | None = None

    @property
    def is_sent(self) -> bool:
        """Whether an attempt is being sent, or was sent and its outcome is not recorded."""
        return self._recorded is not None

    @property
    def is_open(self) -> bool:
        """Whether its outcome is not recorded, so that a stop waits for it."""
        return self.is_sent or self._item.entry.is_open

    def check(self) -> None:
        """Raise `CancelledError` once the batch is stopped, as a stop meanwhile does."""
        if self._batch.stats.stopped is not None:
            raise asyncio.CancelledError

    def sending(self, input: Mapping[str, Any], secrets: Collection[str]) -> None:
        """Keep the input as it is sent, without its secrets, unless the API token is in it."""
        if self._batch.journal.persistent:
            shown = map_leaves(input, lambda leaf: None if leaf in secrets else leaf)
            found = canonical(shown if secrets else input)
            self._input = None if self._batch.api.holds_token(found) else found

    async def begin(self) -> None:
        """Record the intent of the attempt that is sent next."""
        item = self._item
        if item.entry.state is not State.PLANNED:  # not before: a stop keeps the failure
            await item.record(item.entry.reset())
            item.prediction = None
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


class Creator:
    """Creates predictions: permit, `CreateAttempt.begin` (INTENT), request, CREATED.

    Only a create that certainly made nothing is tried again. The `Reconciler` looks for one whose
    answer was lost.
    """

    def __init__(self, batch: BatchContext) -> None:
        self._batch = batch
        self._options, self._api, self._journal = batch.options, batch.api, batch.journal
        self._reconciler = Reconciler(batch)
        self._breaker = CircuitBreaker(monotonic, asyncio.sleep, batch.options.timeouts.outage)
        self.permits: asyncio.Semaphore = asyncio.Semaphore(MAX_CREATING)
        self._is_looked_up = False
        self._unsent: str | None = None
        """The key field of the inputs, if it is no input of the model."""
        self._creating: dict[asyncio.Task[Any], CreateAttempt] = {}

    async def aclose(self) -> None:
        """Look for lost creates no more."""
        await self._reconciler.aclose()

    def on_stop(self) -> None:
        """Cancel creates that are not sent: the batch is stopped."""
        self._reconciler.hurry()
        for task, attempt in self._creating.items():
            if not attempt.is_open:
                task.cancel()

    async def create(self, item: Item, repeats: int, cancelled: int = 0) -> bool:
        """Create the prediction of *item*, or find it in the list; False if there is to be none.

        *repeats* is the number of its predictions that have failed, *cancelled* that of its creates
        that other code has cancelled.
        """
        attempt = CreateAttempt(self._batch, item)
        creating = asyncio.create_task(self._create(item, attempt, repeats))
        self._creating[creating] = attempt
        creating.add_done_callback(self._creating.pop)
        # An answer that is under way is waited for, and recorded.
        await wait_for(
            creating,
            on_cancel=lambda: attempt.is_sent or creating.cancelling() or creating.cancel(),
        )
        if not creating.cancelled():
            return creating.result()
        if not item.entry.is_open:
            if self._batch.stats.stopped is None:
                self._batch.budget.give_back()
                raise ItemError(was_cancelled(item))
            return False
        # By other code: a stop leaves one that was sent.
        lost = AmbiguousCreateError("the create was cancelled while it was under way")
        if await self._is_found(item, lost, cancelled + 1):
            return True
        self._batch.budget.give_back()
        return await self.create(item, repeats, cancelled + 1)

    async def _create(self, item: Item, attempt: CreateAttempt, repeats: int) -> bool:
        attempt.check()
        if repeats:
            await asyncio.sleep(pause_before(repeats, self._options.timeouts.retry))
        self._check(item)
        if not await self._batch.budget.reserve(item):
            return False
        given, lost = await self._prepare(item), 0
        while True:
            attempt.check()
            try:
                # The first create goes alone: it may show that the model needs a version.
                async with self.permits, self._breaker.attempt():
                    if await self._send(item, given, attempt):
                        self._batch.stats.retried += repeats > 0
                        return True
            except AmbiguousCreateError as error:
                lost += 1
                if await self._is_found(item, error, lost):
                    return True

    def _check(self, item: Item) -> None:
        """Refuse an input that the model does not take, unless ``prepare`` makes another of it."""
        if self._api.check is None or self._options.prepare is not None:
            return
        try:
            self._api.check(item.input)
        except InvalidArgumentError as error:
            raise ItemError(error) from None

    async def _prepare(self, item: Item) -> ItemInput:
        """Return the input that is sent; ``prepare`` makes it once for all creates of *item*."""
        prepare = self._options.prepare
        if prepare is None:
            return item.input
        if item.prepared is None:
            try:
                prepared = await call(prepare, item.input)
                if not is_record(prepared):
                    raise TypeError(f"it returned {shorten(prepared)}, which is no input")  # noqa: TRY301 - an error of the function too
            except Exception as error:  # noqa: BLE001 - raised by the user's function
                self._batch.budget.give_back()
                raise ItemError(prepare_failed(item, prepare, error)) from None
            item.prepared = prepared
        return item.prepared

    async def _look_up(self) -> None:
        """Look up once what creates need: the API's time, and whether the key field is sent.

        A resume finds lost creates by the time. Without a schema the field is sent: models ignore
        inputs that they do not know.
        """
        if self._is_looked_up:
            return
        key = self._options.key
        if self._journal.persistent and not self._api.clock.known:
            with suppress(ReplicateError):  # without it, a lost create stays uncertain
                await self._api.learn_time()
        if isinstance(key, str):
            with suppress(NotFoundError):  # the create has a better error
                inputs = Interface.read("", await self._api.input_schema()).inputs
                self._unsent = key if inputs and key not in inputs else None
        self._is_looked_up = True

    async def _send(self, item: Item, given: ItemInput, attempt: CreateAttempt) -> bool:
        """Send one create, with its intent and its outcome in the journal.

        Returns False if it made nothing and may be sent again.
        """
        await self._look_up()
        sent = given if self._unsent is None else without_field(given, self._unsent)
        version = self._journal.header.latest_version
        try:
            prediction = await self._api.create(sent, version, attempt)
            self._breaker.succeeded()
            await self._record_created(item, prediction)
        except AmbiguousCreateError as error:
            if isinstance(error, AmbiguousDecodeError) and error.prediction is not None:
                # Its id cannot stand in a URL, so there is nothing to look or to wait for.
                await self._record_created(item, error.prediction)
                raise ItemError(error) from None
            self._breaker.failed()
            raise
        except ReplicateError as error:
            await attempt.withdraw()
            await self._handle_refusal(error, version)
            return False
        finally:
            attempt.over()
        return True

    async def _record_created(self, item: Item, prediction: Prediction) -> None:
        item.prediction = prediction
        self._batch.stats.created += 1
        created = item.entry.created(prediction.id)
        self._batch.claims.remember(created, self._api.clock.latest())
        await item.record(created)

    async def _handle_refusal(self, error: ReplicateError, asked: str | None) -> None:
        """Return if a create that made nothing may be sent again, else raise.

        It was one of the version *asked*, None without one.
        """
        if is_transient(error):
            self._breaker.failed()
            unreachable = isinstance(error, APIConnectionError | LimiterError)
            hopeless = unreachable and not self._breaker.ever_succeeded
            if not hopeless and not self._breaker.gave_up:
                return
        elif isinstance(error, NotFoundError):
            if await self._find_version(asked):
                return
        elif not is_fatal(error):
            if isinstance(error, APIStatusError):
                self._breaker.succeeded()
            self._batch.budget.give_back()
            raise ItemError(error)
        self._batch.stop("error")  # before other creates go on
        raise error

    async def _find_version(self, asked: str | None) -> bool:
        """Look up the version of a model that cannot be run without one, once for all items."""
        ref = self._options.ref
        if asked is not None or ref.version is not None or ref.model is None:
            return False
        if self._journal.header.latest_version is None:
            found = await self._api.latest_version(ref.model)
            if found is None:
                return False
            await self._journal.set_latest_version(found)
        return True

    # Creates whose outcome is not known.

    async def look_for_earlier(self) -> None:
        """Look for each create that earlier runs left open.

        A prediction in the list may belong to any of them, also to one whose input is read later.
        """
        for state in (State.INTENT, State.UNCERTAIN):
            async for entry in self._journal.entries(state):
                self._reconciler.look_for(entry, self._batch.claims.opened)

    async def reconcile_earlier(self, item: Item) -> None:
        """Look for a create that an earlier run may have sent."""
        await self._reconcile(item, self._batch.claims.opened, None)

    async def _is_found(self, item: Item, error: AmbiguousCreateError, lost: int) -> bool:
        """Whether the create whose answer was lost has made a prediction; raises if not known.

        It is one of *lost* creates and uploads of *item* that broke off.
        """
        if self._breaker.gave_up:
            raise error  # its intent stays, and a resume looks for it
        what = "uploads of its files"  # nothing was created
        if item.entry.is_open:
            if not self._journal.persistent:
                raise ItemError(error)
            if await self._reconcile(item, moment(), error):
                return True
            what = "creates"
        if lost == MAX_LOST:
            raise ItemError(broke_off(item, what, error))
        return False

    async def _reconcile(
        self, item: Item, lost_at: Moment, cause: AmbiguousCreateError | None
    ) -> bool:
        """Whether the create made a prediction; if that is not known, the item is uncertain."""
        entry = item.entry
        self._batch.stats.reconciling += 1
        try:
            found = await self._reconciler.resolve(entry, lost_at)
        except UndecidedError as undecided:
            is_news = entry.state is State.INTENT or entry.window_end is None
            if self._batch.stats.stopped is None and is_news:
                await item.record(entry.uncertain(undecided.window_end))
            raise ItemError(uncertain(item, undecided.reason, cause)) from None
        finally:
            self._batch.stats.reconciling -= 1
        if found is None:
            await item.record(entry.reset())
            return False
        item.entry = entry.created(found.id)  # recorded by the reconciler
        item.prediction = found.ended
        if found.ended is not None:
            self._api.record_end(found.ended)
        return True
