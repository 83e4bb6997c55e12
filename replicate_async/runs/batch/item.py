"""The life of one item: create, wait, save, record."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from replicate_async.errors import (
    APIStatusError,
    FileError,
    InvalidArgumentError,
    ReplicateError,
    WaitTimeout,
)
from replicate_async.runs.batch.context import BatchContext
from replicate_async.runs.batch.create import Creator
from replicate_async.runs.batch.dry_run import DryCheck
from replicate_async.runs.batch.errors import (
    ItemError,
    ends_every_wait,
    finish_failed,
    is_of_one_file,
    undecodable,
    unexpected,
)
from replicate_async.runs.batch.functions import call
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.item_files import save_item
from replicate_async.runs.batch.journal import State
from replicate_async.runs.batch.result_codec import replay, store, store_refusal
from replicate_async.runs.batch.results import BatchResult
from replicate_async.runs.repeats import is_repeatable
from replicate_async.runs.run import cancel_quietly, error_of, give_up
from replicate_async.schemas import Prediction
from replicate_async.tracing import RunSpan, traced


class ItemRunner:
    """Runs items: create, wait, save files, record.

    Each change of an item is in the journal before the next step begins.
    """

    def __init__(
        self, batch: BatchContext, creator: Creator, dry_check: DryCheck | None = None
    ) -> None:
        self._options, self._api, self._journal = batch.options, batch.api, batch.journal
        self._stats, self._budget = batch.stats, batch.budget
        self._creator = creator
        self._dry_check = dry_check
        self._finishing = asyncio.Semaphore(self._options.max_running)

    async def run(self, item: Item, slot: ExitStack) -> BatchResult[Any] | None:
        """Run *item* and return its result, None if the batch stopped before its create.

        *slot* is closed when its prediction has ended. Raises errors that every other item would
        meet too.
        """
        if self._dry_check is not None:
            return self._dry_run(item, self._dry_check)
        try:
            result = await self._predict(item)
            return None if result is None else await self._finish(item, result, slot)
        except ItemError as failed:
            if isinstance(failed.error, APIStatusError) and item.entry.state is State.PLANNED:
                # Its create was refused. A stop does not cancel this task, as it does the create.
                await item.record(item.entry.done(store_refusal(failed.error)))
            return item.result(item.prediction, error=failed.error)
        except asyncio.CancelledError:
            await self._leave(item)
            raise

    def _dry_run(self, item: Item, check: DryCheck) -> BatchResult[Any]:
        """Return what the journal has of *item*, or whether its input is valid."""
        item.replayed = item.resumed
        if item.entry.result is not None:
            return self._replay(item, item.entry.result)
        return item.result(error=None if item.resumed else check.error(item))

    async def _predict(self, item: Item) -> BatchResult[Any] | None:
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

    async def _run_to_end(
        self, item: Item, span: RunSpan, failed: BatchResult[Any] | None
    ) -> BatchResult[Any] | None:
        """Run *item*; *failed* is repeated, and is the result when the batch stops before that."""
        repeats = 0
        while True:
            is_planned = failed is not None or item.entry.state is State.PLANNED
            if is_planned and not await self._creator.create(item, repeats):
                item.replayed = repeats == 0
                return failed
            may_repeat = repeats < self._options.retries
            if not may_repeat:
                item.prepared = None
            ended = item.prediction
            if ended is None or not ended.done:
                ended = item.prediction = await self._wait(item)
            span.seen(ended)
            self._budget.count(item, ended)
            if not may_repeat or self._stats.stopped is not None or not is_repeatable(ended):
                return await self._complete(item, ended)
            failed = item.result(ended, error=error_of(ended))
            repeats += 1

    async def _wait(self, item: Item) -> Prediction:
        """Wait for the end of the prediction of *item*."""
        prediction_id = item.entry.prediction_id or ""
        try:
            return await self._api.wait(prediction_id, item.prediction)
        except ReplicateError as error:
            if ends_every_wait(error):
                self._stats.leaves_running = True  # the predictions are all right
                raise
            if isinstance(error, WaitTimeout):
                ended = await give_up(partial(self._cancel, item), prediction_id, error)
                if ended is not None:
                    return ended
            item.prediction = getattr(error, "prediction", None) or item.prediction
            raise ItemError(error) from None

    async def _cancel(self, item: Item, prediction_id: str) -> Prediction:
        """Cancel a prediction, and count what it used unless its result follows."""
        answer = await self._api.cancel(prediction_id)
        if answer.done and not _has_result(answer):
            self._budget.count(item, answer)
        return answer

    async def _complete(self, item: Item, ended: Prediction) -> BatchResult[Any]:
        """Save, record and decode the output of a prediction that has ended."""
        files: tuple[Path, ...] = ()
        if self._options.save_files is not None and error_of(ended) is None:
            files = await self._save(item, ended, Path(self._options.save_files))
        is_text = self._api.is_text(ended)
        kept = self._journal.persistent
        result = store(ended, files, is_text=is_text) if kept else b""
        try:
            await item.record(item.entry.done(result))
        except InvalidArgumentError as error:  # larger than SQLite takes
            raise ItemError(unexpected(item, error)) from None
        return self._result(item, ended, is_text=is_text, files=files)

    async def _save(self, item: Item, ended: Prediction, folder: Path) -> tuple[Path, ...]:
        """Save the output's files. After an error the item is not done: a resume tries again."""
        try:
            return tuple(await save_item(self._api.output(ended), folder, item.key))
        except ReplicateError as error:
            if isinstance(error, FileError) and not is_of_one_file(error, folder):
                raise  # the disk fails for all items
            raise ItemError(error) from None

    def _replay(self, item: Item, stored: bytes) -> BatchResult[Any]:
        kept, value = replay(stored), item.entry.value
        if kept.prediction is None:
            return item.result(error=kept.error)
        return self._result(
            item,
            kept.prediction,
            is_text=kept.is_text,
            files=kept.files,
            value=None if value is None else msgspec.json.decode(value),
        )

    def _result(self, item: Item, ended: Prediction, **more: Any) -> BatchResult[Any]:
        """Return the result of *item*, with the output of its prediction or an error."""
        output: object = None
        error: ReplicateError | None = error_of(ended)
        if error is None:
            try:
                output = self._api.typed_output(ended)
            except MemoryError:
                raise
            except Exception as raised:  # noqa: BLE001 - also by the type that the user gave
                error = undecodable(ended, raised)
        return item.result(ended, output=output, error=error, **more)

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
        entry, known = item.entry, item.prediction
        if entry.state is not State.CREATED or (known is not None and known.done):
            return
        answer = await cancel_quietly(partial(self._cancel, item), entry.prediction_id or "")
        with suppress(ReplicateError):  # it must not hide why the batch is left
            if answer is None:
                return  # a resume finds the prediction
            if not _has_result(answer):
                await item.record(entry.reset())
                return
            self._budget.count(item, answer)
            if self._options.save_files is None:
                result = store(answer, is_text=self._api.is_text(answer))
                await item.record(entry.done(result))


def _has_result(answer: Prediction) -> bool:
    """Whether a prediction had ended before it was cancelled."""
    return answer.status in ("succeeded", "failed")


def _plain_json(value: object) -> bytes | None:
    """Return *value* as JSON that gives an equal value when it is read, else None."""
    try:
        encoded = msgspec.json.encode(value)
        return encoded if msgspec.json.decode(encoded) == value else None
    except Exception:  # noqa: BLE001 - an object of the user's that cannot be encoded or compared
        return None
