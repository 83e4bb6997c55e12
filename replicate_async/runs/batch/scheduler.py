"""The scheduler of a batch: reads inputs, starts items, and ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import ExitStack, aclosing
from time import monotonic
from typing import Any, Final

from replicate_async.core.tasks import wait_uncancelled
from replicate_async.errors import (
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
from replicate_async.runs.batch.dry_run import DryCheck
from replicate_async.runs.batch.errors import is_disk_full, unexpected
from replicate_async.runs.batch.inputs import InputReader, Item, Source
from replicate_async.runs.batch.item import ItemRunner
from replicate_async.runs.batch.journal import Journal, JournalHeader
from replicate_async.runs.batch.keys import KeyAssigner
from replicate_async.runs.batch.lost_creates.claims import ClaimStore
from replicate_async.runs.batch.options import BatchOptions
from replicate_async.runs.batch.result_queue import ResultQueue
from replicate_async.runs.batch.results import BatchResult, BatchSummary
from replicate_async.runs.batch.stats import BatchStats

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
        self,
        source: Source,
        options: BatchOptions,
        header: JournalHeader,
        api: BatchApi,
        running: set[BatchScheduler],
    ) -> None:
        self.options: BatchOptions = options
        self._source = source
        self._header = header
        self._api = api
        self._running = running
        room = max(_READY, _AHEAD * options.max_running) if options.ordered else _READY
        self.results: ResultQueue[Any] = ResultQueue(room=room, ordered=options.ordered)
        self.stats: BatchStats = BatchStats(monotonic, total=source.total)
        self.error: Exception | None = None
        """The error that ended the batch before its inputs did."""
        self.task: asyncio.Task[None] | None = None
        self._budget = Budget(options, api.price, self.stats, self._stop_starting)
        self._creator: Creator | None = None
        self._slots = asyncio.Semaphore(options.max_running)
        self._dispatcher: asyncio.Task[None] | None = None
        self._items: set[asyncio.Task[None]] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._is_left = False
        self._late_error: Exception | None = None
        """The error of the inputs or a price; it is raised when items that run have ended."""
        self._requests_before = 0
        self._reported = 0.0

    def start(self) -> None:
        """Start the task; the scheduler is in *running* until everything is closed."""
        self._running.add(self)
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(lambda _: self._running.discard(self))

    def stop(self, *, drain: bool, reason: str) -> None:
        """Start no new items; unless *drain*, cancel those that run."""
        self._stop_starting(reason)
        if not drain and self.task is not None and not self._is_left:
            self._is_left = True
            # Not at once: `aclose` that is cancelled as it begins would cancel the tasks twice.
            # The end of `asyncio.run` has cancelled them already.
            if not self.task.cancelling():
                asyncio.get_running_loop().call_soon(self._cancel)
            self._call_later(_CLOSES_WITHIN, self._cancel)

    async def aclose(self) -> None:
        """Cancel what runs, and wait until everything is closed, even if this is cancelled."""
        if self.task is None:
            return
        if self.stats.ended is None:
            self.stop(drain=False, reason="left")
        await wait_uncancelled(self.task, on_cancel=self._cancel)

    def summary(self) -> BatchSummary:
        """Return the summary of the batch so far."""
        if self.stats.began is not None and self.stats.ended is None:
            self.stats.requests = self._api.requests() - self._requests_before
        return self.stats.summary()

    async def _run(self) -> None:
        self._requests_before = self._api.requests()
        self.stats.began = monotonic()
        try:
            async with await self._open_journal() as journal:
                await self._run_items(journal)
        except asyncio.CancelledError:  # as at the end of `asyncio.run`
            self._stop_starting("left")
            raise
        except Exception as error:  # noqa: BLE001 - it is raised by the iteration
            self.error = self.error or error
            self._stop_starting("error")
        finally:
            for timer in self._timers:
                timer.cancel()
            self.summary()  # counts the requests
            self.stats.ended = monotonic()
            self._report(at_once=True)
            if isinstance(self.error, ReplicateError):
                self.error.add_note(self._note(self.error))
            self.results.close(self.error)

    async def _open_journal(self) -> Journal:
        path, dry_run = self.options.journal, self.options.dry_run
        if dry_run and path and not await asyncio.to_thread(os.path.exists, path):
            path = None  # all would be created
        return await Journal.open(path, self._header, create=not dry_run)

    async def _run_items(self, journal: Journal) -> None:
        """Run all items in tasks of one group; the dispatcher, which starts them, is one too."""
        if self.stats.stopped is not None:
            return
        batch = BatchContext(
            options=self.options,
            api=self._api,
            journal=journal,
            claims=ClaimStore(),
            stats=self.stats,
            budget=self._budget,
            stop=self._stop_starting,
        )
        self._creator = Creator(batch)
        if self.options.max_seconds is not None:
            self._call_later(self.options.max_seconds, self._stop_starting, "max_seconds")
        ticker = asyncio.create_task(self._tick())
        try:
            async with asyncio.TaskGroup() as group:
                dispatch = self._dispatch(batch, self._creator, group)
                self._dispatcher = group.create_task(dispatch)
        finally:
            ticker.cancel()
            await self._creator.aclose()
        if self._budget.skipped is not None:
            self._stop_starting(self._budget.skipped)
        if self._late_error is not None:
            raise self._late_error

    async def _dispatch(
        self, batch: BatchContext, creator: Creator, group: asyncio.TaskGroup
    ) -> None:
        """Start a task for each item."""
        try:
            runner = await self._make_runner(batch, creator)
            exact = self.options.journal is not None and self.options.match == "input"
            keys = KeyAssigner(self.options.model, self.options.key, exact=exact)
            reader = InputReader(self._source, batch.journal, batch.claims, keys)
            async with aclosing(reader.items()) as items:
                async for item in items:
                    await self.results.wait_for_room(item.index)
                    if item.fault is not None:
                        self._add(item, item.result(error=item.fault))
                        continue
                    await self._slots.acquire()
                    async with creator.permits:
                        pass  # with 1,000 tasks that wait for one, an item takes 25 % more CPU
                    task = group.create_task(self._run_item(item, runner), name=item.key)
                    self._items.add(task)
                    task.add_done_callback(self._items.discard)
        except JournalError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - most often the user's own; it is raised in the end
            self._late_error = self._late_error or error

    async def _make_runner(self, batch: BatchContext, creator: Creator) -> ItemRunner:
        options = self.options
        if options.dry_run:
            # What `prepare` would make of an input is not known.
            checks = options.prepare is None
            schema = await self._api.input_schema() if checks else None
            check = self._api.check if checks else None
            return ItemRunner(batch, creator, DryCheck(schema, check))
        await self._budget.load(batch.journal)
        if options.save_files is not None:  # before anything is paid for
            await make_folder(os.fspath(options.save_files))
        await creator.look_for_earlier()
        return ItemRunner(batch, creator)

    async def _run_item(self, item: Item, runner: ItemRunner) -> None:
        result: BatchResult[Any] | None = None
        with ExitStack() as slot:
            slot.callback(self._slots.release)
            self.stats.running += 1
            try:
                result = await runner.run(item, slot)
            except Exception as error:  # noqa: BLE001 - sorted here
                if isinstance(error, ReplicateError | MemoryError) or is_disk_full(error):
                    self._fail(error)
                else:
                    result = item.result(item.prediction, error=unexpected(item, error))
            finally:
                self.stats.running -= 1
                self._budget.release(item)
        self._add(item, result)

    def _add(self, item: Item, result: BatchResult[Any] | None) -> None:
        self.results.put(item.index, result)
        if result is None:
            return
        if self.options.dry_run and result.ok and not item.resumed:
            self.stats.planned += 1
        else:
            self.stats.count(result, replayed=item.replayed)
        if not result.ok and self.options.on_error == "raise":
            self._stop_starting("error")
        self._report()

    def _fail(self, error: Exception) -> None:
        """End the batch because of *error*; with a journal, what runs is left to a resume.

        What runs is awaited when a resume cannot know of it, or when only an input is wrong.
        """
        self.error = self.error or error
        drain = isinstance(error, JournalLostError | JournalMismatchError)
        if not drain and self.options.journal is not None:
            self.stats.leaves_running = True
        self.stop(drain=drain, reason="error")

    def _stop_starting(self, reason: str, error: Exception | None = None) -> None:
        """Start no new items, and send no more creates; *error* is raised in the end."""
        self._late_error = self._late_error or error
        if self.stats.stopped is None:
            self.stats.stopped = reason
            if self._dispatcher is not None:
                self._dispatcher.cancel()
            if self._creator is not None:
                self._creator.on_stop()

    def _cancel(self) -> None:
        """Cancel all tasks; a second time, they stop waiting for answers."""
        for task in (self._dispatcher, *self._items):
            if task is not None:
                task.cancel()

    def _call_later(self, seconds: float, function: Callable[..., object], *arguments: str) -> None:
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(seconds, function, *arguments))

    def _note(self, error: ReplicateError) -> str:
        resumes = self.options.journal is not None and not isinstance(error, JournalLostError)
        again = "Run it again with the same journal to go on." if resumes else ""
        return f"The batch stopped after {self.stats.done} items. {again}".rstrip()

    async def _tick(self) -> None:
        await asyncio.sleep(_PROGRESS_EVERY)
        while True:
            self._report()
            await asyncio.sleep(_TICK)

    def _report(self, *, at_once: bool = False) -> None:
        if self.options.on_progress is None:
            return
        now = monotonic()
        if at_once or now - self._reported >= _PROGRESS_EVERY:
            self._reported = now
            try:
                self.options.on_progress(self.stats.progress())
            except Exception as error:  # noqa: BLE001 - the user's own; the iteration raises it
                self._fail(error)
