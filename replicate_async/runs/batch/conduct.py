"""One item of a batch, from its input to its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec

from replicate_async.errors import (
    AmbiguousCreateError,
    APIConnectionError,
    APIStatusError,
    ClientStateError,
    DecodeError,
    FileError,
    JournalError,
    NotFoundError,
    OutputRemoved,
    RedirectError,
    ReplicateError,
    WaitTimeout,
    prediction_error,
)
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
    odd_item,
    uncertain,
)
from replicate_async.runs.batch.halt import Halt
from replicate_async.runs.batch.intake import Item
from replicate_async.runs.batch.journal import Entry, State
from replicate_async.runs.batch.ledger import Ledger
from replicate_async.runs.batch.outage import Outage
from replicate_async.runs.batch.reconcile import Absent, Found, Reconciler, Undecided
from replicate_async.runs.batch.results import BatchResult, ItemInput
from replicate_async.runs.batch.stored import replay, store, store_refusal
from replicate_async.runs.batch.tally import Tally
from replicate_async.runs.run import CANCEL_WITHIN, give_up
from replicate_async.schemas import Prediction

CREATORS: Final = 32
"""Creates that are under way at a time. More would not be faster at the API's limits, and each is
one to look for when the process is killed."""

_LONGEST_PAUSE: Final = 30.0
_LOOKS_EVERY: Final = 0.25  # seconds, because the pace may change meanwhile

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


class _Passing:
    """One that may create, and has no place yet in the line that the client keeps."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor: Conductor | None = conductor
        conductor.passing += 1

    def over(self) -> None:
        conductor, self._conductor = self._conductor, None
        if conductor is not None:
            conductor.passing -= 1


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
        self._line = asyncio.Lock()
        self._started = 0
        self.passing = 0
        """How many may create, and have no place yet in the client's line."""
        self.abandoned = False
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
            ended = await self._await_end(item, prediction)
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
            await self._ledger.retry(item.key)
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
            return await self._look_for(item, sent_at, self._ledger.opened, entry=entry)
        if entry.state is State.INTENT:
            await self._ledger.uncertain(item.key)
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
                alone = await self._outage.through()
                turn: _Passing | None = None
                try:
                    turn = await self._until_its_turn()
                    if not self._may_create():
                        return None
                    made = await self._attempt(item, turn)
                except _Refused:
                    continue
                finally:
                    if turn is not None:
                        turn.over()
                    if alone:
                        self._outage.tried()
            if not isinstance(made, AmbiguousCreateError):
                return made
            begun()
            lost = await self._after_loss(item, made)
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

    async def _after_loss(self, item: Item, made: AmbiguousCreateError) -> Ended | None:
        """Find out what a create did that broke off; return a result if it is not sent again."""
        if self._outage.lost_patience:
            raise made  # its intent remains, and a resume looks for it
        if not self._ledger.lasting:
            return Ended(result_of(item, error=made))
        ended = await self._look_for(item, item.intent_at, monotonic(), cause=made)
        if ended is not None or item.prediction_id is not None:
            return ended
        self._started -= 1
        item.attempts -= 1
        item.lost += 1
        if item.lost < MOST_LOST:
            return None
        return Ended(result_of(item, error=given_up(item.key, made)))

    async def _until_its_turn(self) -> _Passing:
        """Wait for what the pace allows before the intent, and not after it.

        Whoever is killed or stopped here has sent nothing, and there is nothing to look for.
        """
        async with self._line:
            while (left := self._calls.until_create(self.passing)) > 0:
                if self._halt.reason is not None:
                    break
                await self._halt.sleep(min(left, _LOOKS_EVERY))
            return _Passing(self)

    def _may_create(self) -> bool:
        most = self._options.max_predictions
        if self._halt.reason is None and most is not None and self._started >= most:
            self._halt("max_predictions")
        return self._halt.reason is None

    async def _attempt(
        self, item: Item, turn: _Passing
    ) -> Prediction | Ended | AmbiguousCreateError:
        """Send one create, with its intent before it and its outcome after it in the journal."""
        self._started += 1
        with self._ledger.creating():
            item.intent_at = await self._ledger.intent(item.key)
            item.attempts += 1
            creating = asyncio.ensure_future(_awaited(self._calls.create, item))
            # After its first step, in which it takes its place in the client's line.
            asyncio.get_running_loop().call_soon(turn.over)
            try:
                prediction = await asyncio.shield(creating)
            except asyncio.CancelledError:
                await self._rescue(item, creating)
                raise
            except AmbiguousCreateError as error:
                self._outage.failed()
                return error
            except ReplicateError as error:
                self._started -= 1
                return await self._not_created(item, error)
            self._outage.worked()
            await self._record(item, prediction)
        return prediction

    async def _record(self, item: Item, prediction: Prediction) -> None:
        item.prediction_id, item.running = prediction.id, True
        self._tally.created += 1
        self._tally.retried += item.repeats > 0
        await self._ledger.created(item.key, prediction.id)

    async def _not_created(self, item: Item, error: ReplicateError) -> Ended:
        """Decide what a failure means that certainly created nothing."""
        item.attempts -= 1
        if is_passing(error):
            self._outage.failed()
            await self._ledger.withdrawn(item.key)
            unreachable = not self._outage.ever_worked and isinstance(error, APIConnectionError)
            if unreachable or self._outage.lost_patience:
                raise error
            raise _Refused
        if hits_all(error) or isinstance(error, NotFoundError) or blames_version(error):
            await self._ledger.withdrawn(item.key)
            raise error
        self._outage.worked()
        if isinstance(error, APIStatusError):
            await self._ledger.done(item.key, store_refusal(error))
        else:
            await self._ledger.withdrawn(item.key)
        return Ended(result_of(item, error=error))

    async def _look_for(
        self,
        item: Item,
        intent_at: float,
        sent_until: float,
        *,
        entry: Entry | None = None,
        cause: AmbiguousCreateError | None = None,
    ) -> Ended | None:
        """Find out whether a create happened; return a result only if nobody can tell."""
        known_uncertain = entry is not None and entry.state is State.UNCERTAIN
        sent = await self._as_sent(item)
        self._tally.sought += 1
        try:
            verdict = await self._reconciler.resolve(
                item.key,
                self._compared(sent, entry),
                intent_at,
                sent_until=sent_until,
                patient=not known_uncertain,
            )
        finally:
            self._tally.sought -= 1
        if isinstance(verdict, Found):
            item.prediction_id, item.running = verdict.prediction_id, True
            return None
        if isinstance(verdict, Absent):
            if known_uncertain:
                await self._ledger.again(item.key)
            else:
                await self._ledger.withdrawn(item.key)
            return None
        if not known_uncertain and self._halt.reason is None:
            await self._ledger.uncertain(item.key)
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
        await self._ledger.again(item.key)
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
            error = OutputRemoved(
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

    async def _rescue(self, item: Item, creating: asyncio.Future[Prediction]) -> None:
        """Await the answer to a create whose item was cancelled, for it may be paid for."""
        try:
            await asyncio.wait({creating}, timeout=CANCEL_WITHIN)
            if not creating.done() or creating.cancelled():
                return
            error = creating.exception()
            if error is None:
                await self._record(item, creating.result())
            elif isinstance(error, ReplicateError) and not isinstance(error, AmbiguousCreateError):
                await self._ledger.withdrawn(item.key)
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
                    await self._ledger.again(item.key)
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


async def _awaited(create: Callable[..., Any], item: Item) -> Prediction:
    made: Prediction = await create(item.named.input)
    return made
