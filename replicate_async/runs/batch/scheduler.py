"""The scheduler of a batch: reads inputs, starts items, and ends."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack, aclosing
from time import monotonic
from typing import Any, Final

from replicate_async.core.tasks import wait_uncancelled
from replicate_async.errors import (
    InvalidArgumentError,
    JournalError,
    JournalLostError,
    JournalMismatchError,
    ReplicateError,
)
from replicate_async.files.save import make_folder
from replicate_async.runs.batch.api import BatchApi
from replicate_async.runs.batch.budget import Budget
from replicate_async.runs.batch.context import BatchContext
from replicate_async.runs.batch.create import Creator
from replicate_async.runs.batch.dry_run import DryRunner
from replicate_async.runs.batch.errors import is_disk_full, unexpected
from replicate_async.runs.batch.inputs import InputReader, Item, Source
from replicate_async.runs.batch.item import ItemRunner, Outcome
from replicate_async.runs.batch.journal import Journal, JournalHeader
from replicate_async.runs.batch.keys import KeyAssigner
from replicate_async.runs.batch.lost_creates.claims import ClaimStore
from replicate_async.runs.batch.options import BatchOptions
from replicate_async.runs.batch.result_queue import ResultQueue
from replicate_async.runs.batch.results import BatchSummary
from replicate_async.runs.batch.stats import BatchStats
from replicate_async.runs.batch.stop_signal import StopSignal

_READY: Final = 64
"""Results that may wait to be taken before no more items start."""
_AHEAD: Final = 4
"""In order, an item may start when it is less than this many times *concurrency* ahead."""
_CLOSES_WITHIN: Final = 20.0
_PROGRESS_EVERY: Final = 0.1
_TICK: Final = 1.0
"""Seconds after which progress is reported though no item has ended."""


class BatchScheduler:
    """One run of a batch, in a task of its own.

    A dispatcher starts a task for each item, once there is room for its result and a slot of
    *concurrency*. The results go to `results`.
    """

    def __init__(
        self, source: Source, options: BatchOptions, header: JournalHeader, api: BatchApi
    ) -> None:
        self._source = source
        self._options = options
        self._header = header
        self._api = api
        running = options.max_running
        room = max(_READY, _AHEAD * running) if options.ordered else _READY
        self.results: ResultQueue[Any] = ResultQueue(room=room, ordered=options.ordered)
        self.stats: BatchStats = BatchStats(monotonic, total=source.total)
        self.error: Exception | None = None
        """The error that ended the batch before its inputs did."""
        self.task: asyncio.Task[None] | None = None
        self._stop = StopSignal(self._on_stop, options.max_predictions)
        self._budget = Budget(
            options.max_cost, api.price, self.stats, self._stop, ordered=options.ordered
        )
        self._journal: Journal | None = None
        self._creator: Creator | None = None
        self._runner: ItemRunner | DryRunner | None = None
        self._work: asyncio.Task[None] | None = None
        self._dispatcher: asyncio.Task[None] | None = None
        self._slots = asyncio.Semaphore(running)
        self._items: set[asyncio.Task[None]] = set()
        self._hurrying: asyncio.TimerHandle | None = None
        self._input_error: Exception | None = None
        """The error of the inputs; it is raised when all items that were read have ended."""
        self._requests_before = 0
        self._requests: int | None = None
        self._reported = 0.0

    def start(self, running: set[BatchScheduler]) -> None:
        """Start the task; the scheduler is in *running* until everything is closed."""
        running.add(self)
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(lambda _: running.discard(self))

    def stop(self, *, drain: bool, reason: str) -> None:
        """Start no new items; unless *drain*, cancel those that run."""
        self._stop.set(reason)
        if not drain and self._work is not None and not self._work.done():
            self._work.cancel()
            if self._hurrying is None:
                loop = asyncio.get_running_loop()
                self._hurrying = loop.call_later(_CLOSES_WITHIN, self._hurry)

    async def aclose(self) -> None:
        """Cancel what runs, and wait until everything is closed, even if this is cancelled."""
        if self.task is None:
            return
        if self._requests is None:  # it has not ended by itself
            self.stop(drain=False, reason="left")
        await wait_uncancelled(self.task, on_cancel=self._hurry)

    def summary(self) -> BatchSummary:
        """Return the summary of the batch so far."""
        requests = self._requests
        if requests is None:
            started = self.stats.began is not None
            requests = self._api.requests() - self._requests_before if started else 0
        return self.stats.summary(requests=requests, stopped=self._stop.reason)

    async def _run(self) -> None:
        self.stats.began = monotonic()
        self._requests_before = self._api.requests()
        try:
            self._journal = await self._open_journal()
            async with self._journal:
                await self._run_all(self._journal)
        except Exception as error:  # noqa: BLE001 - it is raised by the iteration
            self.error = self.error or error
            self._stop.set("error")
        finally:
            self.stats.ended = monotonic()
            self._requests = self._api.requests() - self._requests_before
            self._report(at_once=True)
            if isinstance(self.error, ReplicateError):
                self.error.add_note(self._note(self.error))
            self.results.close(self.error)

    async def _open_journal(self) -> Journal:
        path, dry_run = self._options.journal, self._options.dry_run
        try:
            return await Journal.open(path, self._header, create=not dry_run)
        except InvalidArgumentError:
            if path and dry_run:  # there is none yet: all would be created
                return await Journal.open(None, self._header)
            raise

    async def _run_all(self, journal: Journal) -> None:
        loop = asyncio.get_running_loop()
        limit = self._options.max_seconds
        timer = None if limit is None else loop.call_later(limit, self._stop.set, "max_seconds")
        ticker = asyncio.create_task(self._tick())
        self._work = asyncio.create_task(self._run_items(journal))
        try:
            await asyncio.wait({self._work})
        finally:
            ticker.cancel()
            if not self._work.done():  # this task was cancelled, as at the end of `asyncio.run`
                self.stop(drain=False, reason="left")
                await asyncio.wait({self._work})
            for handle in (timer, self._hurrying):
                if handle is not None:
                    handle.cancel()
            if self._creator is not None:
                await self._creator.aclose()
        if not self._work.cancelled() and (error := self._work.exception()) is not None:
            raise error
        for error in (self._input_error, self._budget.error):
            if error is not None:
                raise error

    async def _run_items(self, journal: Journal) -> None:
        options, claims = self._options, ClaimStore()
        shared = claims, self._stop, self.stats, self._budget
        batch = BatchContext(options, self._api, journal, *shared)
        if options.dry_run:
            # What `prepare` would make of an input is not known.
            checks = options.prepare is None
            schema = await self._api.input_schema() if checks else None
            self._runner = DryRunner(schema, self._api.check if checks else None)
        else:
            await self._budget.load(journal)
            if options.save_files is not None:  # before anything is paid for
                await make_folder(os.fspath(options.save_files))
            creator = self._creator = Creator(batch)
            self._runner = ItemRunner(batch, creator)
            await creator.look_for_earlier()
        keys = KeyAssigner(
            options.model,
            options.key,
            exact=options.journal is not None and options.match == "input",
        )
        reader = InputReader(self._source, journal, claims, keys)
        if self._stop.reason is None:
            async with asyncio.TaskGroup() as group:
                dispatch = self._dispatch(reader, self._runner, group)
                self._dispatcher = group.create_task(dispatch)
            if self._budget.skipped:
                self._stop.set("max_cost")

    async def _dispatch(
        self, reader: InputReader, runner: ItemRunner | DryRunner, group: asyncio.TaskGroup
    ) -> None:
        """Start a task for each item."""
        try:
            async with aclosing(reader.items()) as items:
                async for item in items:
                    await self.results.wait_for_room(item.index)
                    if item.fault is not None:
                        self._add(Outcome(item.result(error=item.fault)))
                        continue
                    await self._slots.acquire()
                    task = group.create_task(self._run_item(item, runner), name=item.key)
                    self._items.add(task)
                    task.add_done_callback(self._items.discard)
        except JournalError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - the user's own; it is raised in the end
            self._input_error = error

    async def _run_item(self, item: Item, runner: ItemRunner | DryRunner) -> None:
        outcome: Outcome | None = None
        with ExitStack() as slot:
            slot.callback(self._slots.release)
            self.stats.running += 1
            try:
                outcome = await runner.run(item, slot)
            except Exception as error:  # noqa: BLE001 - sorted here
                if isinstance(error, ReplicateError | MemoryError) or is_disk_full(error):
                    self._fail(error)
                else:
                    outcome = Outcome(item.result(error=unexpected(item, error)))
            finally:
                self.stats.running -= 1
                self._budget.release(item)
        if outcome is not None:
            self._add(outcome)

    def _add(self, outcome: Outcome) -> None:
        if outcome.planned:
            self.stats.planned += 1
        else:
            self.stats.finished += outcome.finished
            self.stats.count(outcome.result, replayed=outcome.replayed)
        self.results.put(outcome.result)
        if not outcome.result.ok and self._options.on_error == "raise":
            self._stop.set("error")
        self._report()

    def _fail(self, error: Exception) -> None:
        """End the batch because of *error*; with a journal, what runs is left to a resume.

        What runs is awaited when a resume cannot know of it, or when only an input is wrong.
        """
        self.error = self.error or error
        drain = isinstance(error, JournalLostError | JournalMismatchError)
        if not drain and isinstance(self._runner, ItemRunner) and self._journal is not None:
            self._runner.leaves_running |= self._journal.persistent
        self.stop(drain=drain, reason="error")

    def _on_stop(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.cancel()
        if self._creator is not None:
            self._creator.on_stop()

    def _hurry(self) -> None:
        """Cancel the remaining tasks once more; they stop waiting for answers."""
        for task in (self._dispatcher, *self._items):
            if task is not None:
                task.cancel()

    def _note(self, error: ReplicateError) -> str:
        persistent = self._journal is not None and self._journal.persistent
        resumes = persistent and not isinstance(error, JournalLostError)
        again = "Run it again with the same journal to go on." if resumes else ""
        return f"The batch stopped after {self.stats.done} items. {again}".rstrip()

    async def _tick(self) -> None:
        await asyncio.sleep(_PROGRESS_EVERY)
        while True:
            self._report()
            await asyncio.sleep(_TICK)

    def _report(self, *, at_once: bool = False) -> None:
        if self._options.on_progress is None:
            return
        now = monotonic()
        if at_once or now - self._reported >= _PROGRESS_EVERY:
            self._reported = now
            try:
                self._options.on_progress(self.stats.progress())
            except Exception as error:  # noqa: BLE001 - the user's own; the iteration raises it
                self._fail(error)
