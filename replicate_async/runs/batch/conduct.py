"""One item of a batch, from its input to its result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec

from replicate_async.core.api_clock import Moment, moment
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
from replicate_async.runs.batch.attempts import Attempts, NotBegun
from replicate_async.runs.batch.by_key import without_urls
from replicate_async.runs.batch.calls import BatchOptions, Calls
from replicate_async.runs.batch.faults import (
    MOST_LOST,
    blames_version,
    ends_every_wait,
    given_up,
    hits_all,
    is_disk_full,
    is_of_one_file,
    is_passing,
    not_uploaded,
    odd_item,
    uncertain,
)
from replicate_async.runs.batch.halt import Halt
from replicate_async.runs.batch.intake import Item
from replicate_async.runs.batch.journal import Entry, State
from replicate_async.runs.batch.ledger import Ledger
from replicate_async.runs.batch.outage import Outage
from replicate_async.runs.batch.reconcile import (
    Absent,
    Found,
    LostCreate,
    Reconciler,
    Undecided,
)
from replicate_async.runs.batch.results import BatchResult, ItemInput
from replicate_async.runs.batch.stored import replay, store, store_refusal
from replicate_async.runs.batch.tally import Tally
from replicate_async.runs.run import CANCEL_WITHIN, give_up
from replicate_async.schemas import Prediction

CREATORS: Final = 32
"""Creates that are under way at a time. More would not be faster at the API's limits, and each is
one to look for when the process is killed."""

_LONGEST_PAUSE: Final = 30.0

# docs "reference/error-codes": what went wrong around the model, not in it.
_WORTH_REPEATING: Final = frozenset(
    {"PA", "E6716", "E8367", "E8765", "E9243", "E9825", "E9828"},
)

Result = BatchResult[Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """An item's result, and whether the journal had it already, or it is a dry run's."""

    result: Result
    replayed: bool = False
    planned: bool = False
    """Whether it was only looked at, and would be created."""


class _Refused(Exception):  # noqa: N818 - never raised to users
    """A create that was refused for certain, and may be tried again a little later."""


class Conductor:
    """Takes items through their states, each of them on disk before the next begins."""

    def __init__(
        self,
        options: BatchOptions,
        calls: Calls,
        ledger: Ledger,
        reconciler: Reconciler,
        halt: Halt,
        tally: Tally,
    ) -> None:
        self._options = options
        self._calls = calls
        self._ledger = ledger
        self._reconciler = reconciler
        self._halt = halt
        self._tally = tally
        self._outage = Outage(monotonic, halt.sleep, options.patience.outage)
        self._creators = asyncio.Semaphore(CREATORS)
        self._first = asyncio.Lock()
        self._first_worked = False
        self._time_asked = False
        self._started = 0
        self._waiting: dict[asyncio.Future[Prediction], Attempts] = {}
        """Creates that wait for a permit, or are under way."""
        self.abandoned: bool = False
        """Whether predictions run on when their item is cancelled."""

    async def run(self, item: Item, begun: Callable[[], None]) -> Ended | None:
        """Return how *item* ended, or None when it was not begun.

        *begun* is called when its prediction is there, or has to be looked for. Raises what would
        hit every other item too.
        """
        try:
            return await self._run(item, begun)
        except asyncio.CancelledError:
            await self._leave(item)
            raise

    async def _run(self, item: Item, begun: Callable[[], None]) -> Ended | None:
        known = await self._taken_up(item, begun)
        if known is not None:
            return known
        while True:
            prediction: Prediction | None = None
            if item.prediction_id is None:
                made = await self._create(item, begun)
                if not isinstance(made, Prediction | str):
                    return made
                prediction = made if isinstance(made, Prediction) else None
            begun()
            ended = item.ended or await self._await_end(item, prediction)
            item.ended = None
            item.running = False
            if isinstance(ended, Ended):
                return ended
            if not await self._repeats(item, ended):
                return await self._finish(item, ended)

    async def _taken_up(self, item: Item, begun: Callable[[], None]) -> Ended | None:
        """Go on where the journal left off; return a result if that is all there is to do."""
        entry = item.entry
        if item.named.fault is not None:
            return Ended(result_of(item, error=item.named.fault))
        if entry is None:
            return None
        if entry.state is State.DONE and entry.result is not None:
            replayed = self._replayed(item, entry.result)
            if replayed.result.ok or not self._options.retry_failed:
                return replayed
            await self._ledger.reset(item.key)
            return None
        if entry.state is State.CREATED:
            item.prediction_id, item.running = entry.prediction_id, True
        elif entry.state in (State.INTENT, State.UNCERTAIN):
            begun()
            return await self._look_again(item, entry)
        return None

    async def _look_again(self, item: Item, entry: Entry) -> Ended | None:
        """Look for what an earlier run may have created, by the values that it was sent with."""
        sent_at = entry.intent_at or 0.0
        if entry.digest == item.named.digest:
            return await self._look_for(item, self._ledger.opened, entry=entry)
        if entry.state is State.INTENT:
            await self._ledger.uncertain(item.key, None)
        verdict = Undecided(
            "its values have changed since it was sent, so it cannot be recognised in the list of "
            "predictions"
        )
        return Ended(result_of(item, error=uncertain(item.key, verdict, sent_at, None)))

    def _compared(self, sent: ItemInput, entry: Entry | None) -> ItemInput:
        """Return what the list is searched for; URLs may differ from what an earlier run sent."""
        by_key = entry is not None and self._options.match == "key"
        return without_urls(sent) if by_key else sent

    def _replayed(self, item: Item, stored: bytes) -> Ended:
        kept = replay(stored)
        prediction, error = kept.prediction, kept.error
        output = None
        if prediction is not None and error is None:
            output, error = self._decoded(prediction)
        result = result_of(
            item,
            prediction=prediction,
            output=output,
            is_text=kept.is_text,
            error=error,
            files=kept.files,
        )
        return Ended(result, replayed=True)

    # What follows returns a Prediction, or the id of one that was found, or else how it ended.

    async def _create(
        self, item: Item, begun: Callable[[], None]
    ) -> Prediction | str | Ended | None:
        await self._as_sent(item)  # looks the model's inputs up before there is an intent
        while True:
            async with self._creators:
                await self._learn_time()
                alone = await self._outage.through()
                try:
                    async with self._first_alone():
                        if not self._may_create():
                            return None
                        made = await self._attempt(item)
                except _Refused:
                    continue
                finally:
                    if alone:
                        self._outage.tried()
            if not isinstance(made, AmbiguousCreateError):
                return made
            begun()
            lost = await self._after_loss(item, made, moment())
            if lost is not None:
                return lost
            if item.prediction_id is not None:
                return item.prediction_id

    async def _as_sent(self, item: Item) -> ItemInput:
        """Return the input of *item* as the model gets it."""
        field = self._calls.key_field
        if field is None:
            return item.named.input
        await field.look_up()
        return field.as_sent(item.named.input)

    async def _learn_time(self) -> None:
        """See that the API's time is known before the first intent, for a resume to build on."""
        if self._calls.clock.known or not self._ledger.lasting:
            return
        async with self._first:
            if not self._time_asked:
                with suppress(ReplicateError):  # without it, a lost create stays undecided
                    await self._calls.learn_time()
                self._time_asked = True

    @asynccontextmanager
    async def _first_alone(self) -> AsyncGenerator[None]:
        """Let the first create go alone, as it may show that the model needs a version."""
        if not self._is_runnable():
            async with self._first:
                if not self._is_runnable():
                    yield
                    return
        yield

    def _is_runnable(self) -> bool:
        """Whether it is known that what is asked for can be run, with a version or without."""
        named = self._options.version or self._ledger.latest_version
        return self._first_worked or named is not None

    async def _after_loss(
        self, item: Item, made: AmbiguousCreateError, lost_at: Moment
    ) -> Ended | None:
        """Find out what a create did that broke off; return a result if it is not sent again."""
        if self._outage.lost_patience:
            raise made  # its intent remains, and a resume looks for it
        if not self._ledger.lasting:
            return Ended(result_of(item, error=made))
        ended = await self._look_for(item, lost_at, cause=made)
        if ended is not None or item.prediction_id is not None:
            return ended
        self._started -= 1
        item.intent_at, item.attempts = 0.0, item.attempts - 1
        item.lost += 1
        if item.lost < MOST_LOST:
            return None
        return Ended(result_of(item, error=given_up(item.key, made)))

    def _may_create(self) -> bool:
        most = self._options.max_predictions
        if self._halt.reason is None and most is not None and self._started >= most:
            self._halt("max_predictions")
        return self._halt.reason is None

    def _admit(self, attempts: Attempts) -> bool:
        """Say whether an attempt may leave now that it has a permit."""
        if attempts.counted:
            return not self._ends(attempts)
        if not self._may_create():
            return False
        self._started += 1
        attempts.counted = True
        return True

    def _ends(self, attempts: Attempts) -> bool:
        """Whether the halted batch sends nothing more for an item; those it has counted go on."""
        reason = self._halt.reason
        return reason is not None and not (attempts.counted and reason == "max_predictions")

    def halted(self) -> None:
        """Give up creates that are not under way: they wait for no permit any longer."""
        for creating, attempts in self._waiting.items():
            if not attempts.sent and self._ends(attempts):
                creating.cancel()

    async def _attempt(self, item: Item) -> Prediction | Ended | AmbiguousCreateError | None:
        """Create *item*, with each intent and each outcome in the journal."""
        attempts = Attempts(item, self._ledger, self._admit, self._ends)
        creating = asyncio.ensure_future(_created(self._calls, item, attempts))
        self._waiting[creating] = attempts
        try:
            await asyncio.wait({creating})
            return await self._outcome(item, creating, attempts)
        except asyncio.CancelledError:
            await self._rescue(item, creating, attempts)
            raise
        finally:
            del self._waiting[creating]
            attempts.over()

    async def _outcome(
        self, item: Item, creating: asyncio.Future[Prediction], attempts: Attempts
    ) -> Prediction | Ended | AmbiguousCreateError | None:
        """Record what came of a create, and return what that means."""
        error = NotBegun() if creating.cancelled() else creating.exception()  # see `halted`
        if error is None:
            self._first_worked = True
            self._outage.worked()
            await self._record(item, creating.result())
            return creating.result()
        if isinstance(error, AmbiguousCreateError):
            self._outage.failed()
            return error if attempts.sent else self._not_uploaded(item, error)
        if not isinstance(error, ReplicateError):
            raise error  # it does not say whether anything was created, so the intent stays
        self._started -= attempts.counted
        await attempts.withdraw()
        if isinstance(error, NotBegun):
            return None
        return await self._not_created(item, error, attempts.version)

    async def _record(self, item: Item, prediction: Prediction) -> None:
        item.prediction_id, item.running = prediction.id, True
        self._tally.created += 1
        self._tally.retried += item.repeats > 0
        await self._ledger.created(item.key, prediction.id, item.window_start)

    def _not_uploaded(self, item: Item, error: AmbiguousCreateError) -> Ended:
        """Decide what it means that an upload for the input broke off: nothing was created."""
        if self._outage.lost_patience:
            raise error
        item.lost += 1
        if item.lost < MOST_LOST:
            raise _Refused
        return Ended(result_of(item, error=not_uploaded(item.key, error)))

    async def _not_created(self, item: Item, error: ReplicateError, version: str | None) -> Ended:
        """Decide what a failure means that certainly created nothing."""
        if is_passing(error):
            self._outage.failed()
            unreachable = not self._outage.ever_worked and isinstance(error, APIConnectionError)
            if unreachable or self._outage.lost_patience:
                raise error
            raise _Refused
        if isinstance(error, NotFoundError) and await self._has_version(version):
            raise _Refused
        if hits_all(error) or isinstance(error, NotFoundError) or blames_version(error):
            raise error
        self._first_worked = True
        self._outage.worked()
        if isinstance(error, APIStatusError):
            await self._ledger.done(item.key, store_refusal(error))
        return Ended(result_of(item, error=error))

    async def _has_version(self, asked: str | None) -> bool:
        """Look up the version of a model that cannot be run without one; all items get the same."""
        if asked is not None or self._options.version is not None:
            return False
        if self._ledger.latest_version is None:
            found = await self._calls.latest_version()
            if found is None:
                return False
            await self._ledger.set_latest_version(found)
        return True

    async def _look_for(
        self,
        item: Item,
        lost_at: Moment,
        *,
        entry: Entry | None = None,
        cause: AmbiguousCreateError | None = None,
    ) -> Ended | None:
        """Find out whether a create happened; return a result only if that cannot be told."""
        known_uncertain = entry is not None and entry.state is State.UNCERTAIN
        intent_at, window_start, window_end = item.intent_at, item.window_start, None
        if entry is not None:
            intent_at, window_start = entry.intent_at or 0.0, entry.window_start
            window_end = entry.window_end
        sent = self._compared(await self._as_sent(item), entry)
        lost = LostCreate(item.key, sent, intent_at, window_start, window_end, lost_at)
        self._tally.sought += 1
        try:
            verdict = await self._reconciler.resolve(lost, patient=not known_uncertain)
        finally:
            self._tally.sought -= 1
        if isinstance(verdict, Found):
            item.prediction_id, item.running = verdict.prediction_id, True
            item.ended = verdict.ended
            return None
        if isinstance(verdict, Absent):
            if known_uncertain:
                await self._ledger.reset(item.key)
            else:
                await self._ledger.reset(item.key)
            return None
        if self._halt.reason is None and (not known_uncertain or window_end is None):
            await self._ledger.uncertain(item.key, verdict.window_end)
        return Ended(result_of(item, error=uncertain(item.key, verdict, intent_at, cause)))

    async def _await_end(self, item: Item, made: Prediction | None) -> Prediction | Ended:
        if made is not None and made.done:
            return made
        prediction_id = item.prediction_id or ""
        try:
            return await self._calls.wait(prediction_id)
        except WaitTimeout as error:
            error.last = error.last or made
            ended = await give_up(self._calls.cancel, prediction_id, error)
            if ended is not None:
                return ended
            last = error.last if isinstance(error.last, Prediction) else made
            return Ended(result_of(item, prediction=last, error=error))
        except ReplicateError as error:
            last = _last_seen(error, made)
            if ends_every_wait(error):
                self.abandoned = True  # what runs goes on: nothing is known against it
                raise
            return Ended(result_of(item, prediction=last, error=error))

    async def _repeats(self, item: Item, ended: Prediction) -> bool:
        """Make *item* ready for another prediction, if the last one failed by bad luck."""
        worth = ended.status == "aborted" or (
            ended.status == "failed" and ended.error_code in _WORTH_REPEATING
        )
        if not worth or item.repeats >= self._options.retries or self._halt.reason is not None:
            return False
        await self._ledger.reset(item.key)
        item.prediction_id = None
        pause = self._options.patience.retry * 2**item.repeats
        item.repeats += 1
        await self._halt.sleep(min(pause, _LONGEST_PAUSE))
        return True

    async def _finish(self, item: Item, ended: Prediction) -> Ended:
        """Save, record and decode what *ended* gave."""
        error: ReplicateError | None = None
        output: object = None
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
            try:
                saved = await self._calls.save(ended, self._options.save_files, item.key)
            except Exception as fault:
                if is_disk_full(fault) or isinstance(fault, MemoryError):
                    raise
                if isinstance(fault, FileError) and not is_of_one_file(
                    fault, self._options.save_files
                ):
                    raise  # the disk, which is everybody's
                # Not recorded as done: a resume tries again, for as long as the files are there.
                error = fault if isinstance(fault, ReplicateError) else _odd(item, fault)
                return Ended(result_of(item, prediction=ended, error=error))
            files = tuple(saved)
        is_text = self._calls.is_text(ended)
        unkept = await self._keep(item, ended, files, is_text=is_text)
        if error is None:
            output, error = self._decoded(ended)
        return Ended(
            result_of(
                item,
                prediction=ended,
                output=output,
                is_text=is_text,
                error=error or unkept,
                files=files,
            )
        )

    async def _keep(
        self, item: Item, ended: Prediction, files: tuple[Path, ...], *, is_text: bool
    ) -> ReplicateError | None:
        """Record that *item* is done; return why the journal cannot hold it, if it cannot."""
        if not self._ledger.lasting:
            return None
        try:
            await self._ledger.done(item.key, store(ended, files, is_text=is_text))
        except (JournalError, ClientStateError, MemoryError):
            raise
        except Exception as fault:  # noqa: BLE001 - raised by a value of this one result
            return _odd(item, fault)
        return None

    def _decoded(self, prediction: Prediction) -> tuple[object, ReplicateError | None]:
        try:
            return self._calls.output(prediction), None
        except msgspec.ValidationError as error:
            said = str(error)
        except ReplicateError as error:
            return None, error
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - raised by the type that the user gave
            said = f"{type(error).__name__}: {error}"
        fault = DecodeError(f"{prediction.id}: {said}")
        fault.prediction = prediction
        return None, fault

    async def _rescue(
        self, item: Item, creating: asyncio.Future[Prediction], attempts: Attempts
    ) -> None:
        """Await the answer to a create whose item was cancelled, for it may be paid for."""
        try:
            if not attempts.sent:
                creating.cancel()
            await asyncio.wait({creating}, timeout=CANCEL_WITHIN)
            if not creating.done() or creating.cancelled():
                return
            error = creating.exception()
            if error is None:
                if item.prediction_id is None:
                    await self._record(item, creating.result())
            elif isinstance(error, ReplicateError) and not isinstance(error, AmbiguousCreateError):
                await attempts.withdraw()
        finally:
            if not creating.done():
                creating.cancel()

    async def _leave(self, item: Item) -> None:
        """Cancel the prediction of an item that nobody waits for, unless it is to run on."""
        if self._options.on_exit == "continue" or self.abandoned:
            return
        if item.prediction_id is None or not item.running:
            return
        try:
            async with asyncio.timeout(CANCEL_WITHIN):
                ended = await self._calls.cancel(item.prediction_id)
                if ended.status not in ("succeeded", "failed"):
                    await self._ledger.reset(item.key)
                elif self._options.save_files is None:
                    await self._ledger.done(
                        item.key, store(ended, is_text=self._calls.is_text(ended))
                    )
        except (ReplicateError, TimeoutError):
            pass  # it must not hide why the batch is left; a resume finds the prediction


def result_of(
    item: Item,
    *,
    prediction: Prediction | None = None,
    output: object = None,
    is_text: bool = False,
    error: ReplicateError | None = None,
    files: tuple[Path, ...] = (),
) -> Result:
    """Return the result of *item*, with its times."""
    finished = prediction.completed_at if prediction is not None else None
    return BatchResult(
        key=item.key,
        index=item.named.index,
        input=item.named.input,
        prediction=prediction,
        output=output,
        is_text=is_text,
        error=error,
        attempts=item.attempts,
        created_at=prediction.created_at if prediction is not None else None,
        finished_at=finished or datetime.now(UTC),
        resumed=item.resumed,
        files=files,
    )


async def _created(calls: Calls, item: Item, attempts: Attempts) -> Prediction:
    return await calls.create(item.named.input, attempts.version, attempts)


def _odd(item: Item, error: Exception) -> ReplicateError:
    return odd_item(item.named.index, item.key, error, item.prediction_id)


def _last_seen(error: ReplicateError, made: Prediction | None) -> Prediction | None:
    """Return the prediction that *error* ended the wait for, as it was seen last or *made*."""
    last: object = getattr(error, "prediction", None)
    if isinstance(last, Prediction):
        return last
    if isinstance(error, APIStatusError | APIConnectionError | RedirectError):
        error.prediction = made
    return made
