"""The life of one item: create, wait, save, record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec

from replicate_async.core.api_clock import Moment, moment
from replicate_async.core.backoff import backoff
from replicate_async.errors import (
    AmbiguousCreateError,
    APIConnectionError,
    APIStatusError,
    ClientStateError,
    DecodeError,
    FileError,
    JournalError,
    NotFoundError,
    OutputRemovedError,
    RedirectError,
    ReplicateError,
    WaitTimeout,
    prediction_error,
)
from replicate_async.runs.batch.api import BatchApi
from replicate_async.runs.batch.attempt import CreateAttempt, CreateLimit, NotStartedError
from replicate_async.runs.batch.breaker import CircuitBreaker
from replicate_async.runs.batch.by_key import with_changeable_files
from replicate_async.runs.batch.claims import ClaimStore
from replicate_async.runs.batch.errors import (
    MAX_LOST,
    blames_version,
    ends_every_wait,
    given_up,
    is_disk_full,
    is_fatal,
    is_of_one_file,
    is_transient,
    not_uploaded,
    uncertain,
    unexpected,
)
from replicate_async.runs.batch.identity import fields, known_files, normalize, read_files
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.journal import Entry, Journal, State
from replicate_async.runs.batch.matching import LostCreate
from replicate_async.runs.batch.options import BatchOptions
from replicate_async.runs.batch.reconcile import Absent, Found, Reconciler
from replicate_async.runs.batch.result_codec import replay, store, store_refusal
from replicate_async.runs.batch.results import BatchResult, ItemInput
from replicate_async.runs.batch.stats import BatchStats
from replicate_async.runs.batch.stop_signal import StopSignal
from replicate_async.runs.run import CANCEL_WITHIN, give_up
from replicate_async.schemas import Prediction

_LONGEST_PAUSE: Final = 30.0

# docs "reference/error-codes": failures of the service, not of the model.
_RETRYABLE_CODES: Final = frozenset({"PA", "E6716", "E8367", "E8765", "E9243", "E9825", "E9828"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an item that was run, replayed from the journal, or planned in a dry run."""

    result: BatchResult[Any]
    replayed: bool = False
    planned: bool = False


class _ItemError(Exception):
    """Ends an item with an error; the other items go on."""

    def __init__(self, error: ReplicateError, prediction: Prediction | None = None) -> None:
        super().__init__(str(error))
        self.error: ReplicateError = error
        self.prediction = prediction


class _NotCreated(Exception):  # noqa: N818 - a step of the flow
    """A create that certainly made nothing, and may be tried again."""


class ItemRunner:
    """Runs items; each change of an item is in the journal before the next step begins.

    Create: permit, `CreateAttempt.begin` (INTENT), request, CREATED. A create whose answer is lost
    is looked for by the `Reconciler`. Then: wait, save files, DONE.
    """

    def __init__(
        self,
        options: BatchOptions,
        api: BatchApi,
        journal: Journal,
        claims: ClaimStore,
        reconciler: Reconciler,
        stop: StopSignal,
        stats: BatchStats,
    ) -> None:
        self._options = options
        self._api = api
        self._journal = journal
        self._claims = claims
        self._reconciler = reconciler
        self._stop = stop
        self._stats = stats
        self._limit = CreateLimit(options.max_predictions, stop)
        self._breaker = CircuitBreaker(monotonic, stop.sleep, options.timeouts.outage)
        self._first = asyncio.Lock()
        self._first_worked = False
        self._time_asked = False
        self._creating: dict[asyncio.Future[Prediction], CreateAttempt] = {}
        """Creates that wait for a permit of the limiter, or are under way."""
        self.leaves_running: bool = False
        """Whether predictions run on when their items are cancelled."""

    async def run(self, item: Item) -> Outcome | None:
        """Run *item* and return its outcome, None if the batch stopped before its create.

        Raises errors that every other item would meet too.
        """
        try:
            return await self._run(item)
        except NotStartedError:
            return None
        except _ItemError as failed:
            return Outcome(item.result(prediction=failed.prediction, error=failed.error))
        except asyncio.CancelledError:
            await self._leave(item)
            raise

    def cancel_unsent(self) -> None:
        """Cancel the creates that wait for a permit, once the batch is stopped."""
        for creating, attempt in self._creating.items():
            if attempt.is_stopped:
                creating.cancel()

    async def _run(self, item: Item) -> Outcome:
        if item.keyed.fault is not None:
            raise _ItemError(item.keyed.fault)
        if item.entry.state is State.DONE:
            replayed = self._replay(item, item.entry.result or b"")
            if replayed.result.ok or not self._options.retry_failed:
                return replayed
            await self._record(item, item.entry.reset())
        elif item.entry.is_open:
            item.permit.release()
            await self._reconcile_earlier(item)
        while True:
            created = await self._create(item) if item.entry.state is State.PLANNED else None
            item.permit.release()
            if item.ended is None:
                item.ended = await self._wait(item, created)
            if not self._is_retried(item, item.ended):
                return await self._finish(item, item.ended)
            await self._retry(item)

    def _replay(self, item: Item, stored: bytes) -> Outcome:
        kept = replay(stored)
        prediction, error = kept.prediction, kept.error
        output = None
        if prediction is not None and error is None:
            output, error = self._decode(prediction)
        result = item.result(
            prediction=prediction,
            output=output,
            is_text=kept.is_text,
            error=error,
            files=kept.files,
        )
        return Outcome(result, replayed=True)

    async def _record(self, item: Item, entry: Entry) -> None:
        item.entry = entry  # first, because a cancelled record takes effect all the same
        await self._journal.record(entry)

    # Creating.

    async def _create(self, item: Item) -> Prediction | None:
        """Create the prediction of *item*; None if it was found in the list, with its ID."""
        await self._as_sent(item)  # may look up the model's inputs, which no intent waits for
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

    async def _as_sent(self, item: Item) -> ItemInput:
        """Return the input of *item* as the model gets it."""
        field = self._api.key_field
        if field is None:
            return item.input
        await field.look_up()
        return field.as_sent(item.input)

    async def _learn_time(self) -> None:
        """Learn the API's time before the first intent: a resume needs it to find lost creates."""
        if self._api.clock.known or not self._journal.persistent:
            return
        async with self._first:
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
        named = self._options.version or self._journal.header.latest_version
        return self._first_worked or named is not None

    async def _attempt(self, item: Item) -> Prediction:
        """Send one create, with its intent and its outcome in the journal."""
        attempt = CreateAttempt(item, self._journal, self._claims, self._api.clock, self._limit)
        create = self._api.create(item.input, attempt.version, attempt)
        creating = asyncio.ensure_future(create)
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
        error = NotStartedError() if creating.cancelled() else creating.exception()
        if error is None:
            self._first_worked = True
            self._breaker.succeeded()
            await self._record_created(item, creating.result())
            return creating.result()
        if isinstance(error, AmbiguousCreateError):
            self._breaker.failed()
            if not attempt.sent:
                self._upload_lost(item, error)
            item.sent_input = attempt.input
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
        self._claims.remember(
            created := item.entry.created(prediction.id), self._api.clock.latest()
        )
        await self._record(item, created)

    def _upload_lost(self, item: Item, error: AmbiguousCreateError) -> None:
        """Handle an upload that broke off: nothing was created."""
        if self._breaker.gave_up:
            raise error
        item.lost += 1
        if item.lost < MAX_LOST:
            raise _NotCreated
        raise _ItemError(not_uploaded(item.key, error))

    async def _not_created(self, item: Item, error: ReplicateError, version: str | None) -> None:
        """Handle an error that certainly created nothing; return if it ends the batch."""
        if is_transient(error):
            self._breaker.failed()
            unreachable = isinstance(error, APIConnectionError) and not self._breaker.ever_succeeded
            if unreachable or self._breaker.gave_up:
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
            await self._record(item, item.entry.done(store_refusal(error)))
        raise _ItemError(error)

    async def _find_version(self, asked: str | None) -> bool:
        """Look up the version of a model that cannot be run without one, once for all items."""
        if asked is not None or self._options.version is not None:
            return False
        if self._journal.header.latest_version is None:
            found = await self._api.latest_version()
            if found is None:
                return False
            await self._journal.set_latest_version(found)
        return True

    # Creates whose outcome is not known.

    async def _reconcile_earlier(self, item: Item) -> None:
        """Look for a create that an earlier run may have sent."""
        entry = item.entry
        if entry.digest != item.keyed.digest:
            if entry.state is State.INTENT:
                await self._record(item, entry.uncertain())
            reason = (
                "its values have changed since it was sent, so it cannot be recognised in the list "
                "of predictions"
            )
            raise _ItemError(uncertain(item.key, reason, entry.intent_at, None))
        normalized = normalize(await read_files(await self._as_sent(item)))
        if self._options.match == "key":
            normalized = with_changeable_files(normalized)
        await self._reconcile(item, normalized, self._claims.opened, None)

    async def _reconcile_lost(self, item: Item, error: AmbiguousCreateError) -> None:
        """Find out whether a create happened whose answer was lost."""
        if self._breaker.gave_up:
            raise error  # its intent stays, and a resume looks for it
        if not self._journal.persistent:
            raise _ItemError(error)
        lost_at = moment()
        sent, item.sent_input = item.sent_input, None
        normalized = normalize(known_files(fields(await self._as_sent(item)), sent))
        await self._reconcile(item, normalized, lost_at, error)
        if item.entry.state is State.PLANNED:
            item.lost += 1
            if item.lost == MAX_LOST:
                raise _ItemError(given_up(item.key, error))

    async def _reconcile(
        self, item: Item, normalized: object, lost_at: Moment, cause: AmbiguousCreateError | None
    ) -> None:
        """Bring the entry to CREATED or PLANNED, or end the item as uncertain."""
        entry = item.entry
        lost = LostCreate(
            key=item.key,
            normalized=normalized,
            intent_at=entry.intent_at or 0.0,
            window_start=entry.window_start,
            window_end=entry.window_end,
            lost_at=lost_at,
        )
        self._stats.reconciling += 1
        try:
            verdict = await self._reconciler.resolve(lost, patient=entry.state is State.INTENT)
        finally:
            self._stats.reconciling -= 1
        if isinstance(verdict, Found):
            item.entry = entry.created(verdict.prediction_id)  # recorded by the reconciler
            item.ended = verdict.ended
        elif isinstance(verdict, Absent):
            await self._record(item, entry.reset())
        else:
            is_news = entry.state is State.INTENT or entry.window_end is None
            if self._stop.reason is None and is_news:
                await self._record(item, entry.uncertain(verdict.window_end))
            raise _ItemError(uncertain(item.key, verdict.reason, entry.intent_at, cause))

    # Waiting, and what comes after.

    async def _wait(self, item: Item, created: Prediction | None) -> Prediction:
        """Wait for the end of the prediction of *item*."""
        if created is not None and created.done:
            return created
        prediction_id = item.entry.prediction_id or ""
        try:
            return await self._api.wait(prediction_id)
        except WaitTimeout as error:
            error.last = error.last or created
            ended = await give_up(self._api.cancel, prediction_id, error)
            if ended is not None:
                return ended
            last = error.last if isinstance(error.last, Prediction) else created
            raise _ItemError(error, last) from None
        except ReplicateError as error:
            last = _last_seen(error, created)
            if ends_every_wait(error):
                self.leaves_running = True  # the predictions are all right
                raise
            raise _ItemError(error, last) from None

    def _is_retried(self, item: Item, ended: Prediction) -> bool:
        """Whether another prediction follows one that failed because of the service."""
        retryable = ended.status == "aborted" or (
            ended.status == "failed" and ended.error_code in _RETRYABLE_CODES
        )
        return retryable and item.repeats < self._options.retries and self._stop.reason is None

    async def _retry(self, item: Item) -> None:
        item.repeats += 1
        item.ended, item.counted = None, False
        await self._record(item, item.entry.reset())
        await self._stop.sleep(
            backoff(item.repeats, base=self._options.timeouts.retry, cap=_LONGEST_PAUSE)
        )

    async def _finish(self, item: Item, ended: Prediction) -> Outcome:
        """Save, record and decode the output of a prediction that has ended."""
        error: ReplicateError | None = None
        files: tuple[Path, ...] = ()
        if ended.status != "succeeded":
            error = prediction_error(ended)
        elif ended.output is None and ended.data_removed:
            error = OutputRemovedError(
                f"prediction {ended.id} succeeded, but its output has been removed since, which "
                "happens an hour after the end; run its input again.",
                prediction=ended,
            )
        elif self._options.save_files is not None:
            files = await self._save(item, ended, self._options.save_files)
        is_text = self._api.is_text(ended)
        unkept = await self._record_done(item, ended, files, is_text=is_text)
        output: object = None
        if error is None:
            output, error = self._decode(ended)
        result = item.result(
            prediction=ended, output=output, is_text=is_text, error=error or unkept, files=files
        )
        return Outcome(result)

    async def _save(self, item: Item, ended: Prediction, folder: Path) -> tuple[Path, ...]:
        """Save the output's files. After an error the item is not done: a resume tries again."""
        try:
            return tuple(await self._api.save(ended, folder, item.key))
        except Exception as error:
            if is_disk_full(error) or isinstance(error, MemoryError):
                raise
            if isinstance(error, FileError) and not is_of_one_file(error, folder):
                raise  # the disk fails for all items
            known = error if isinstance(error, ReplicateError) else _unexpected(item, error)
            raise _ItemError(known, ended) from None

    async def _record_done(
        self, item: Item, ended: Prediction, files: tuple[Path, ...], *, is_text: bool
    ) -> ReplicateError | None:
        """Record that *item* is done; return the error of a result that the journal cannot hold."""
        try:
            kept = self._journal.persistent
            result = store(ended, files, is_text=is_text) if kept else b""
            await self._record(item, item.entry.done(result))
        except (JournalError, ClientStateError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - raised by a value of this one result
            return _unexpected(item, error)
        return None

    def _decode(self, prediction: Prediction) -> tuple[object, ReplicateError | None]:
        try:
            return self._api.output(prediction), None
        except msgspec.ValidationError as error:
            said = str(error)
        except ReplicateError as error:
            return None, error
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - raised by the type that the user gave
            said = f"{type(error).__name__}: {error}"
        undecodable = DecodeError(f"{prediction.id}: {said}")
        undecodable.prediction = prediction
        return None, undecodable

    # Cancelled items.

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

    async def _leave(self, item: Item) -> None:
        """Cancel the prediction of a cancelled item, unless it is to run on."""
        if self._options.on_exit == "continue" or self.leaves_running:
            return
        entry = item.entry
        if entry.state is not State.CREATED or item.ended is not None:
            return
        try:
            async with asyncio.timeout(CANCEL_WITHIN):
                ended = await self._api.cancel(entry.prediction_id or "")
                if ended.status not in ("succeeded", "failed"):
                    await self._record(item, entry.reset())
                elif self._options.save_files is None:
                    result = store(ended, is_text=self._api.is_text(ended))
                    await self._record(item, entry.done(result))
        except (ReplicateError, TimeoutError):
            pass  # it must not hide why the batch is left; a resume finds the prediction


def _unexpected(item: Item, error: Exception) -> ReplicateError:
    return unexpected(item.index, item.key, error, item.entry.prediction_id)


def _last_seen(error: ReplicateError, created: Prediction | None) -> Prediction | None:
    """Return the last state of the prediction whose wait ended with *error*."""
    last: object = getattr(error, "prediction", None)
    if isinstance(last, Prediction):
        return last
    if isinstance(error, APIStatusError | APIConnectionError | RedirectError):
        error.prediction = created
    return created
