"""The life of one item: create, wait, save, record."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from replicate_async.errors import (
    ClientStateError,
    DecodeError,
    FileError,
    InvalidArgumentError,
    JournalError,
    ReplicateError,
    WaitTimeout,
)
from replicate_async.runs.batch.context import BatchContext
from replicate_async.runs.batch.create import Creator
from replicate_async.runs.batch.errors import (
    ItemError,
    NotStartedError,
    ends_every_wait,
    finish_failed,
    is_disk_full,
    is_of_one_file,
    unexpected,
)
from replicate_async.runs.batch.functions import call
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.journal import State
from replicate_async.runs.batch.result_codec import replay, store
from replicate_async.runs.batch.results import BatchResult
from replicate_async.runs.repeats import is_repeatable
from replicate_async.runs.run import CANCEL_WITHIN, error_of, give_up
from replicate_async.runs.waiting.run_api import check_run
from replicate_async.schemas import Prediction
from replicate_async.tracing import RunSpan, traced


class ItemRunner:
    """Runs items: create, wait, save files, record.

    Each change of an item is in the journal before the next step begins.
    """

    def __init__(self, batch: BatchContext, creator: Creator) -> None:
        self._options, self._api, self._journal = batch.options, batch.api, batch.journal
        self._stats, self._budget = batch.stats, batch.budget
        self._creator = creator
        self._finishing = asyncio.Semaphore(self._options.max_running)

    async def run(self, item: Item, slot: ExitStack) -> BatchResult[Any] | None:
        """Run *item* and return its result, None if the batch stopped before its create.

        *slot* is closed when its prediction has ended. Raises errors that every other item would
        meet too.
        """
        try:
            return await self._finish(item, await self._predict(item), slot)
        except NotStartedError:
            return None
        except ItemError as failed:
            return item.result(failed.prediction, error=failed.error)
        except asyncio.CancelledError:
            await self._leave(item)
            raise

    async def _predict(self, item: Item) -> BatchResult[Any]:
        failed: BatchResult[Any] | None = None
        if item.entry.result is not None:
            failed = self._replay(item, item.entry.result)
            if failed.ok or not self._options.retry_failed:
                item.replayed = True
                return failed
        elif item.entry.is_open:
            await self._creator.reconcile_earlier(item)
        with traced(self._api.start_span()) as span:
            try:
                return await self._run_to_end(item, span, failed)
            except ItemError as ended:
                span.end(ended.error)
                raise
            except NotStartedError:
                span.end()
                raise

    async def _run_to_end(
        self, item: Item, span: RunSpan, failed: BatchResult[Any] | None
    ) -> BatchResult[Any]:
        """Run *item*; *failed* is repeated, and is the result when the batch stops before that."""
        repeats = 0
        while True:
            created: Prediction | None = None
            if failed is not None or item.entry.state is State.PLANNED:
                try:
                    created = await self._creator.create(item, repeats)
                except NotStartedError:
                    if failed is None:
                        raise
                    item.replayed = repeats == 0
                    return failed
            may_repeat = repeats < self._options.retries
            if not may_repeat:
                item.prepared = None
            if item.ended is None:
                item.ended = await self._wait(item, created)
            ended = item.ended
            span.seen(ended)
            self._budget.count(item, ended)
            if not may_repeat or self._stats.stopped is not None or not is_repeatable(ended):
                return await self._complete(item, ended)
            failed = item.result(ended, error=error_of(ended))
            repeats += 1

    def _replay(self, item: Item, stored: bytes) -> BatchResult[Any]:
        kept = replay(stored)
        prediction, error = kept.prediction, kept.error
        output = None
        if prediction is not None and error is None:
            output, error = self._decode(prediction)
        value = item.entry.value
        return item.result(
            prediction,
            output=output,
            is_text=kept.is_text,
            error=error,
            files=kept.files,
            value=None if value is None else msgspec.json.decode(value),
        )

    # Waiting, and what comes after.

    async def _wait(self, item: Item, created: Prediction | None) -> Prediction:
        """Wait for the end of the prediction of *item*."""
        if created is not None and created.done:
            return created
        prediction_id = item.entry.prediction_id or ""

        async def cancel(prediction_id: str) -> Prediction:
            answer = await self._api.cancel(prediction_id)
            if answer.done and answer.status not in ("succeeded", "failed"):
                self._budget.count(item, answer)
            return answer

        try:
            return await self._api.wait(prediction_id, created)
        except WaitTimeout as error:
            ended = await give_up(cancel, prediction_id, error)
            if ended is not None:
                return ended
            raise ItemError(error, getattr(error, "prediction", None)) from None
        except ReplicateError as error:
            if ends_every_wait(error):
                self._stats.leaves_running = True  # the predictions are all right
                raise
            raise ItemError(error, getattr(error, "prediction", created)) from None

    async def _complete(self, item: Item, ended: Prediction) -> BatchResult[Any]:
        """Save, record and decode the output of a prediction that has ended."""
        error: ReplicateError | None = error_of(ended)
        files: tuple[Path, ...] = ()
        if error is None and self._options.save_files is not None:
            files = await self._save(item, ended, Path(self._options.save_files))
        is_text = self._api.is_text(ended)
        unkept = await self._record_done(item, ended, files, is_text=is_text)
        output: object = None
        if error is None:
            output, error = self._decode(ended)
        return item.result(
            ended, output=output, is_text=is_text, error=error or unkept, files=files
        )

    async def _save(self, item: Item, ended: Prediction, folder: Path) -> tuple[Path, ...]:
        """Save the output's files. After an error the item is not done: a resume tries again."""
        try:
            return tuple(await self._api.save(ended, folder, item.key))
        except Exception as error:
            if is_disk_full(error) or isinstance(error, MemoryError):
                raise
            if isinstance(error, FileError) and not is_of_one_file(error, folder):
                raise  # the disk fails for all items
            known = error if isinstance(error, ReplicateError) else unexpected(item, error)
            raise ItemError(known, ended) from None

    async def _record_done(
        self, item: Item, ended: Prediction, files: tuple[Path, ...], *, is_text: bool
    ) -> ReplicateError | None:
        """Record that *item* is done; return the error of a result that the journal cannot hold."""
        try:
            kept = self._journal.persistent
            result = store(ended, files, is_text=is_text) if kept else b""
            await item.record(item.entry.done(result))
        except (JournalError, ClientStateError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - raised by a value of this one result
            return unexpected(item, error)
        return None

    def _decode(self, prediction: Prediction) -> tuple[object, ReplicateError | None]:
        try:
            return self._api.output(prediction), None
        except MemoryError:
            raise
        except ReplicateError as error:
            return None, error
        except Exception as error:  # noqa: BLE001 - raised by the type that the user gave
            invalid = isinstance(error, msgspec.ValidationError)
            said = str(error) if invalid else f"{type(error).__name__}: {error}"
        undecodable = DecodeError(f"{prediction.id}: {said}")
        undecodable.prediction = prediction
        return None, undecodable

    # What the user does with a result.

    async def _finish(
        self, item: Item, result: BatchResult[Any], slot: ExitStack
    ) -> BatchResult[Any]:
        """Call ``finish`` with the result of a success, unless an earlier call has returned."""
        finish, ended = self._options.finish, result.prediction
        if item.entry.state is State.FINISHED:
            self._stats.finished += 1
            return result
        if finish is None or result.error is not None or ended is None:
            return result
        try:
            async with self._finishing:
                slot.close()  # not before: results that wait for this are bounded
                value = await call(finish, result)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - of the user's function
            # A batch that ends cancels it; its prediction is handed over all the same.
            failed = finish_failed(item, finish, error, ended)
            return msgspec.structs.replace(result, output=None, error=failed)
        if self._journal.persistent:  # else it has forgotten the item
            kept = _plain_json(value)
            try:
                await item.record(item.entry.finished(kept))
            except InvalidArgumentError:  # larger than SQLite takes
                await item.record(item.entry.finished())
        self._stats.finished += 1
        return msgspec.structs.replace(result, value=value)

    # Cancelled items.

    async def _leave(self, item: Item) -> None:
        """Cancel the prediction of a cancelled item, unless it is to run on."""
        if self._options.on_exit == "continue" or self._stats.leaves_running:
            return
        entry = item.entry
        if entry.state is not State.CREATED or item.ended is not None:
            return
        try:
            async with asyncio.timeout(CANCEL_WITHIN):
                prediction_id = entry.prediction_id or ""
                ended = check_run(await self._api.cancel(prediction_id), prediction_id)
                if ended.done:
                    self._budget.count(item, ended)
                if ended.status not in ("succeeded", "failed"):
                    await item.record(entry.reset())
                elif self._options.save_files is None:
                    result = store(ended, is_text=self._api.is_text(ended))
                    await item.record(entry.done(result))
        except (ReplicateError, TimeoutError):
            pass  # it must not hide why the batch is left; a resume finds the prediction


def _plain_json(value: object) -> bytes | None:
    """Return *value* as JSON that gives an equal value when it is read, else None."""
    try:
        encoded = msgspec.json.encode(value)
        return encoded if msgspec.json.decode(encoded) == value else None
    except Exception:  # noqa: BLE001 - an object of the user's that cannot be encoded or compared
        return None
