"""Creating the prediction of an item, once and not twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final, cast

from replicate_async.core.api_clock import Moment, moment
from replicate_async.core.endpoint import shorten
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
from replicate_async.runs.batch.attempt import CreateAttempt
from replicate_async.runs.batch.breaker import CircuitBreaker
from replicate_async.runs.batch.context import BatchContext
from replicate_async.runs.batch.errors import (
    MAX_LOST,
    ItemError,
    blames_version,
    broke_off,
    is_fatal,
    is_transient,
    prepare_failed,
    uncertain,
)
from replicate_async.runs.batch.functions import call, wait_for
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.journal import State
from replicate_async.runs.batch.lost_creates.lost_create import Absent, Found
from replicate_async.runs.batch.lost_creates.reconciler import Reconciler
from replicate_async.runs.batch.result_codec import store_refusal
from replicate_async.runs.batch.results import ItemInput
from replicate_async.runs.batch.stop_signal import NotStartedError
from replicate_async.schemas import Prediction

MAX_CREATING: Final = 32
"""Creates under way at a time. More are not faster at the API's limits, and each is one to look for
when the process is killed."""


class _NotCreated(Exception):  # noqa: N818 - a step of the flow
    """A create that certainly made nothing, and may be tried again."""


class Creator:
    """Creates predictions: permit, `CreateAttempt.begin` (INTENT), request, CREATED.

    Only a create that certainly made nothing is tried again. The `Reconciler` looks for one whose
    answer was lost.
    """

    def __init__(self, batch: BatchContext) -> None:
        self._batch = batch
        self._options, self._api, self._journal = batch.options, batch.api, batch.journal
        self._reconciler = Reconciler(batch)
        self._stop = batch.stop
        self._breaker = CircuitBreaker(monotonic, batch.stop.sleep, batch.options.timeouts.outage)
        self._permits = asyncio.Semaphore(MAX_CREATING)
        self._time_asked = False
        self._input_names: Collection[str] | None = None
        """The inputs of the model by its schema, once it was looked up."""
        self._unsent: dict[asyncio.Future[Any], Callable[[], bool]] = {}
        """Calls of ``prepare`` and creates, and whether a stop cancels them."""

    async def aclose(self) -> None:
        """Look for lost creates no more."""
        await self._reconciler.aclose()

    def on_stop(self) -> None:
        """Cancel what comes before the sending of a create: the batch is stopped."""
        self._reconciler.hurry()
        for future, is_stopped in self._unsent.items():
            if is_stopped():
                future.cancel()

    async def create(self, item: Item) -> Prediction | None:
        """Create the prediction of *item*; None if it was found in the list, with its ID."""
        self._check(item)
        await self._batch.budget.reserve(item)
        await self._prepare(item)
        while True:
            try:
                # The first create goes alone: it may show that the model needs a version.
                async with self._permits, self._breaker.attempt():
                    await self._learn_time()
                    if not self._stop.allows(item):
                        raise NotStartedError
                    return await self._attempt(item)
            except _NotCreated:
                continue
            except AmbiguousCreateError as error:
                await self._reconcile_lost(item, error)
                if item.entry.state is not State.PLANNED:
                    return None

    def _check(self, item: Item) -> None:
        """Refuse an input that the model does not take, unless ``prepare`` makes another of it."""
        if self._api.check is None or self._options.prepare is not None:
            return
        try:
            self._api.check(item.input)
        except InvalidArgumentError as error:
            raise ItemError(error) from None

    async def _as_sent(self, given: ItemInput) -> ItemInput:
        """Return an input as the model gets it: without a key field that is no input of its own.

        Without a schema the field is sent: models ignore inputs that they do not know.
        """
        name = self._options.key
        if not isinstance(name, str):
            return given
        if self._input_names is None:
            self._input_names = await self._model_inputs()
        unknown = self._input_names and name not in self._input_names
        return without_field(given, name) if unknown else given

    async def _model_inputs(self) -> Collection[str]:
        """Return the names of the model's inputs by its schema; none if there is no schema."""
        try:
            found: Any = await self._api.input_schema()
        except NotFoundError:
            return ()  # the create has a better error
        for name in ("components", "schemas", "Input", "properties"):
            found = cast("Any", found).get(name) if isinstance(found, Mapping) else None
        return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else ()

    async def _prepare(self, item: Item) -> None:
        """Make the input that is sent, once for all creates of *item*."""
        prepare, task = self._options.prepare, asyncio.current_task()
        if prepare is None or item.prepared is not None or task is None:
            return
        self._stop.count(item)
        self._unsent[task] = lambda: not self._stop.allows(item)
        try:
            prepared = await call(prepare, item.input)
            if not is_record(prepared):
                raise TypeError(f"it returned {shorten(prepared)}, which is no input")  # noqa: TRY301 - an error of the function too
            item.prepared = prepared
        except Exception as error:  # noqa: BLE001 - raised by the user's function
            self._stop.discount(item)
            raise ItemError(prepare_failed(item, prepare, error)) from None
        finally:
            del self._unsent[task]

    async def _learn_time(self) -> None:
        """Learn the API's time before the first intent: a resume needs it to find lost creates."""
        if self._time_asked or self._api.clock.known or not self._journal.persistent:
            return
        self._time_asked = True
        with suppress(ReplicateError):  # without it, a lost create stays uncertain
            await self._api.learn_time()

    async def _attempt(self, item: Item) -> Prediction:
        """Send one create, and sort its errors."""
        attempt = CreateAttempt(self._batch, item)
        sent = await self._as_sent(item.model_input)
        creating = asyncio.ensure_future(self._send(item, sent, attempt))
        self._unsent[creating] = lambda: attempt.is_stopped
        try:
            # An answer that is under way is waited for, and recorded.
            await wait_for(creating, on_cancel=lambda: attempt.sent or creating.cancel())
            if creating.cancelled():
                # One that was sent is cancelled by other code, since `on_stop` leaves it.
                cancelled = AmbiguousCreateError("the create was cancelled while it was under way")
                raise cancelled if attempt.sent else NotStartedError()
            return creating.result()
        except NotStartedError:
            raise
        except AmbiguousCreateError as error:
            self._breaker.failed()
            if not attempt.sent:
                self._upload_lost(item, error)
            raise
        except ReplicateError as error:
            await self._not_created(item, error, attempt.version)
            raise
        finally:
            del self._unsent[creating]
            attempt.over()

    async def _send(self, item: Item, sent: ItemInput, attempt: CreateAttempt) -> Prediction:
        """Send one create, with its intent and its outcome in the journal."""
        try:
            prediction = await self._api.create(sent, attempt.version, attempt)
        except AmbiguousDecodeError as error:
            if error.prediction is None:
                raise
            # Its id cannot stand in a URL, so there is nothing to look for and nothing to wait for.
            await self._record_created(item, error.prediction)
            raise ItemError(error, error.prediction) from None
        except AmbiguousCreateError:
            raise
        except ReplicateError:
            await attempt.withdraw()
            raise
        self._breaker.succeeded()
        await self._record_created(item, prediction)
        return prediction

    async def _record_created(self, item: Item, prediction: Prediction) -> None:
        self._batch.stats.created += 1
        self._batch.stats.retried += item.repeats > 0
        created = item.entry.created(prediction.id)
        self._batch.claims.remember(created, self._api.clock.latest())
        await item.record(created)

    def _upload_lost(self, item: Item, error: AmbiguousCreateError) -> None:
        """Handle an upload that broke off: nothing was created."""
        if self._breaker.gave_up:
            raise error
        item.lost += 1
        if item.lost < MAX_LOST:
            raise _NotCreated
        raise ItemError(broke_off(item, "uploads of its files", error))

    async def _not_created(self, item: Item, error: ReplicateError, version: str | None) -> None:
        """Handle an error that certainly created nothing; return if it ends the batch."""
        if is_transient(error):
            self._breaker.failed()
            unreachable = isinstance(error, APIConnectionError | LimiterError)
            if (unreachable and not self._breaker.ever_succeeded) or self._breaker.gave_up:
                return
            raise _NotCreated
        if isinstance(error, NotFoundError) and await self._find_version(version):
            raise _NotCreated
        if is_fatal(error) or isinstance(error, NotFoundError) or blames_version(error):
            return
        self._breaker.succeeded()
        self._stop.discount(item)
        if isinstance(error, APIStatusError) and item.entry.state is State.PLANNED:
            await item.record(item.entry.done(store_refusal(error)))
        raise ItemError(error)

    async def _find_version(self, asked: str | None) -> bool:
        """Look up the version of a model that cannot be run without one, once for all items."""
        if asked is not None or self._options.ref.version is not None:
            return False
        if self._journal.header.latest_version is None:
            found = await self._api.latest_version()
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

    async def _reconcile_lost(self, item: Item, error: AmbiguousCreateError) -> None:
        """Find out whether a create happened whose answer was lost."""
        if self._breaker.gave_up:
            raise error  # its intent stays, and a resume looks for it
        if not self._journal.persistent:
            raise ItemError(error)
        await self._reconcile(item, moment(), error)
        if item.entry.state is State.PLANNED:
            item.lost += 1
            if item.lost == MAX_LOST:
                raise ItemError(broke_off(item, "creates", error))

    async def _reconcile(
        self, item: Item, lost_at: Moment, cause: AmbiguousCreateError | None
    ) -> None:
        """Bring the entry to CREATED or PLANNED, or end the item as uncertain."""
        entry = item.entry
        self._batch.stats.reconciling += 1
        try:
            verdict = await self._reconciler.resolve(entry, lost_at)
        finally:
            self._batch.stats.reconciling -= 1
        if isinstance(verdict, Found):
            item.entry = entry.created(verdict.prediction_id)  # recorded by the reconciler
            item.ended = verdict.ended
            if item.ended is not None:
                self._api.record_end(item.ended)
        elif isinstance(verdict, Absent):
            await item.record(entry.reset())
        else:
            is_news = entry.state is State.INTENT or entry.window_end is None
            if self._stop.reason is None and is_news:
                await item.record(entry.uncertain(verdict.window_end))
            raise ItemError(uncertain(item, verdict.reason, cause))
