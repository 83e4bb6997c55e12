"""Creating the prediction of an item, once and not twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, cast

from replicate_async.core.api_clock import Moment, moment
from replicate_async.errors import (
    AmbiguousCreateError,
    AmbiguousDecodeError,
    APIConnectionError,
    APIStatusError,
    LimiterError,
    NotFoundError,
    ReplicateError,
)
from replicate_async.files.inputs import without_field
from replicate_async.runs.batch.api import BatchApi
from replicate_async.runs.batch.attempt import CreateAttempt, CreateLimit, NotStartedError
from replicate_async.runs.batch.breaker import CircuitBreaker
from replicate_async.runs.batch.claims import ClaimStore
from replicate_async.runs.batch.errors import (
    MAX_LOST,
    ItemError,
    blames_version,
    given_up,
    is_fatal,
    is_transient,
    not_uploaded,
    prepare_failed,
    uncertain,
)
from replicate_async.runs.batch.functions import call_prepare
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.journal import Journal, State
from replicate_async.runs.batch.lost_create import Absent, Found
from replicate_async.runs.batch.options import BatchOptions
from replicate_async.runs.batch.reconcile import Reconciler
from replicate_async.runs.batch.result_codec import store_refusal
from replicate_async.runs.batch.results import ItemInput
from replicate_async.runs.batch.stats import BatchStats
from replicate_async.runs.batch.stop_signal import StopSignal
from replicate_async.runs.run import CANCEL_WITHIN
from replicate_async.schemas import Prediction


class _NotCreated(Exception):  # noqa: N818 - a step of the flow
    """A create that certainly made nothing, and may be tried again."""


class Creator:
    """Creates predictions: permit, `CreateAttempt.begin` (INTENT), request, CREATED.

    Only a create that certainly made nothing is tried again. The `Reconciler` looks for one whose
    answer was lost.
    """

    def __init__(
        self,
        options: BatchOptions,
        api: BatchApi,
        journal: Journal,
        claims: ClaimStore,
        stop: StopSignal,
        stats: BatchStats,
    ) -> None:
        self._options = options
        self._api = api
        self._journal = journal
        self._claims = claims
        self._reconciler = Reconciler(options, api, journal, claims)
        self._stop = stop
        self._stats = stats
        self._limit = CreateLimit(options.max_predictions, stop)
        self._breaker = CircuitBreaker(monotonic, stop.sleep, options.timeouts.outage)
        self._first = asyncio.Lock()
        self._first_worked = False
        self._looking_up = asyncio.Lock()
        self._time_asked = False
        self._input_names: Collection[str] | None = None
        """The inputs of the model by its schema, once it was looked up."""
        self._creating: dict[asyncio.Future[Prediction], CreateAttempt] = {}
        """Creates that wait for a permit of the limiter, or are under way."""
        self._preparing: dict[asyncio.Task[object], Item] = {}
        """The tasks of items whose ``prepare`` is running."""

    async def aclose(self) -> None:
        """Look for lost creates no more."""
        await self._reconciler.aclose()

    def on_stop(self) -> None:
        """Cancel what comes before the sending of a create: the batch is stopped."""
        self._reconciler.hurry()
        for task, item in self._preparing.items():
            if not self._limit.allows(item):
                task.cancel()
        for creating, attempt in self._creating.items():
            if attempt.is_stopped:
                creating.cancel()

    async def create(self, item: Item) -> Prediction | None:
        """Create the prediction of *item*; None if it was found in the list, with its ID."""
        await self._as_sent(item.input)  # may look up the model's inputs, which no intent waits for
        await self._prepare(item)
        while item.entry.state is State.PLANNED:
            await item.permit.acquire()
            await self._learn_time()
            try:
                async with self._breaker.attempt(), self._first_alone():
                    if not self._limit.allows(item):
                        raise NotStartedError
                    return await self._attempt(item)
            except _NotCreated:
                continue
            except AmbiguousCreateError as error:
                item.permit.release()
                await self._reconcile_lost(item, error)
        return None

    async def _as_sent(self, given: ItemInput) -> ItemInput:
        """Return an input as the model gets it: without a key field that is no input of its own.

        Without a schema the field is sent: models ignore inputs that they do not know.
        """
        name = self._options.key
        if not isinstance(name, str):
            return given
        async with self._looking_up:
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
        if not self._limit.allows(item):
            raise NotStartedError
        self._limit.count(item)
        self._preparing[task] = item
        try:
            item.prepared = await call_prepare(prepare, item.input)
        except Exception as error:  # noqa: BLE001 - raised by the user's function
            self._limit.discount(item)
            raise ItemError(prepare_failed(item.index, item.key, prepare, error)) from None
        finally:
            del self._preparing[task]

    async def _learn_time(self) -> None:
        """Learn the API's time before the first intent: a resume needs it to find lost creates."""
        if self._api.clock.known or not self._journal.persistent:
            return
        async with self._looking_up:
            if not self._time_asked:
                with suppress(ReplicateError):  # without it, a lost create stays uncertain
                    await self._api.learn_time()
                self._time_asked = True

    @asynccontextmanager
    async def _first_alone(self) -> AsyncGenerator[None]:
        """Let the first create go alone: it may show that the model needs a version."""
        if not self._is_runnable():
            async with self._first:
                if not self._is_runnable():
                    yield
                    return
        yield

    def _is_runnable(self) -> bool:
        """Whether the model is known to run, with a version or without."""
        named = self._options.ref.version or self._journal.header.latest_version
        return self._first_worked or named is not None

    async def _attempt(self, item: Item) -> Prediction:
        """Send one create, with its intent and its outcome in the journal."""
        attempt = CreateAttempt(
            item,
            self._journal,
            self._claims,
            self._api.clock,
            self._limit,
            self._api.holds_token,
        )
        sent = await self._as_sent(item.model_input)
        creating = asyncio.ensure_future(self._api.create(sent, attempt.version, attempt))
        self._creating[creating] = attempt
        try:
            await asyncio.wait({creating})
            return await self._created(item, creating, attempt)
        except asyncio.CancelledError:
            await self._rescue(item, creating, attempt)
            raise
        finally:
            del self._creating[creating]
            attempt.over()

    async def _created(
        self, item: Item, creating: asyncio.Future[Prediction], attempt: CreateAttempt
    ) -> Prediction:
        """Record the outcome of a create, and return its prediction."""
        error: BaseException | None
        if not creating.cancelled():
            error = creating.exception()
        elif attempt.sent:  # by other code, since `on_stop` leaves it
            error = AmbiguousCreateError("the create was cancelled while it was under way")
        else:
            error = NotStartedError()
        if error is None:
            self._first_worked = True
            self._breaker.succeeded()
            await self._record_created(item, creating.result())
            return creating.result()
        if isinstance(error, AmbiguousDecodeError) and error.prediction is not None:
            # Its id cannot stand in a URL, so there is nothing to look for and nothing to wait for.
            await self._record_created(item, error.prediction)
            raise ItemError(error, error.prediction)
        if isinstance(error, AmbiguousCreateError):
            self._breaker.failed()
            if not attempt.sent:
                self._upload_lost(item, error)
            raise error
        if not isinstance(error, ReplicateError):
            raise error  # it does not tell whether the create was sent, so the intent stays
        await attempt.withdraw()
        if not isinstance(error, NotStartedError):
            await self._not_created(item, error, attempt.version)
        raise error

    async def _record_created(self, item: Item, prediction: Prediction) -> None:
        self._stats.created += 1
        self._stats.retried += item.repeats > 0
        created = item.entry.created(prediction.id)
        self._claims.remember(created, self._api.clock.latest())
        await item.record(self._journal, created)

    def _upload_lost(self, item: Item, error: AmbiguousCreateError) -> None:
        """Handle an upload that broke off: nothing was created."""
        if self._breaker.gave_up:
            raise error
        item.lost += 1
        if item.lost < MAX_LOST:
            raise _NotCreated
        raise ItemError(not_uploaded(item.key, error))

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
        self._first_worked = True
        self._breaker.succeeded()
        self._limit.discount(item)
        if isinstance(error, APIStatusError):
            await item.record(self._journal, item.entry.done(store_refusal(error)))
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
                self._reconciler.look_for(entry, self._claims.opened)

    async def reconcile_earlier(self, item: Item) -> None:
        """Look for a create that an earlier run may have sent."""
        await self._reconcile(item, self._claims.opened, None)

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
                raise ItemError(given_up(item.key, error))

    async def _reconcile(
        self, item: Item, lost_at: Moment, cause: AmbiguousCreateError | None
    ) -> None:
        """Bring the entry to CREATED or PLANNED, or end the item as uncertain."""
        entry = item.entry
        self._stats.reconciling += 1
        try:
            verdict = await self._reconciler.resolve(entry, lost_at)
        finally:
            self._stats.reconciling -= 1
        if isinstance(verdict, Found):
            item.entry = entry.created(verdict.prediction_id)  # recorded by the reconciler
            item.ended = verdict.ended
        elif isinstance(verdict, Absent):
            await item.record(self._journal, entry.reset())
        else:
            is_news = entry.state is State.INTENT or entry.window_end is None
            if self._stop.reason is None and is_news:
                await item.record(self._journal, entry.uncertain(verdict.window_end))
            raise ItemError(uncertain(item.key, verdict.reason, entry.intent_at, cause))

    async def _rescue(
        self, item: Item, creating: asyncio.Future[Prediction], attempt: CreateAttempt
    ) -> None:
        """Wait a little for the answer to a create whose item was cancelled, and record it."""
        try:
            if not attempt.sent:
                creating.cancel()
            await asyncio.wait({creating}, timeout=CANCEL_WITHIN)
            if not creating.done() or creating.cancelled():
                return
            error = creating.exception()
            if error is None and item.entry.state is State.INTENT:
                await self._record_created(item, creating.result())
            elif isinstance(error, ReplicateError) and not isinstance(error, AmbiguousCreateError):
                await attempt.withdraw()
        finally:
            if not creating.done():
                creating.cancel()
