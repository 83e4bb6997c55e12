"""The workers of a batch: how many there are, when they end, and what they leave behind."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final

import anyio

from replicate_async.errors import (
    InvalidArgumentError,
    JournalError,
    JournalLostError,
    JournalMismatch,
    ReplicateError,
)
from replicate_async.refs import VersionRef, parse_version
from replicate_async.runs.batch.calls import BatchOptions, Calls
from replicate_async.runs.batch.conduct import CREATORS, Conductor, Ended, result_of
from replicate_async.runs.batch.faults import is_disk_full, odd_create, odd_item
from replicate_async.runs.batch.halt import Halt
from replicate_async.runs.batch.intake import Intake, Item
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from replicate_async.runs.batch.ledger import Ledger
from replicate_async.runs.batch.outbox import Outbox
from replicate_async.runs.batch.preview import Preview
from replicate_async.runs.batch.reconcile import Reconciler
from replicate_async.runs.batch.results import BatchSummary
from replicate_async.runs.batch.sources import Namer, Source
from replicate_async.runs.batch.tally import Tally

MOST_WORKERS: Final = 1000
"""Predictions that run at a time unless the user says: 100 seconds of the API's 600 a minute."""

_READY: Final = 64
"""Results that may wait to be taken before no more items begin."""
_AHEAD: Final = 4
"""In order, an item may begin when it is less than this many times the workers ahead."""
_CLOSES_WITHIN: Final = 20.0
_PROGRESS_EVERY: Final = 0.1
_TICK: Final = 1.0
"""Seconds after which progress is reported though nothing has ended."""


class Engine:
    """One run of a batch: a task that others talk to through its halt and its outbox."""

    def __init__(self, source: Source, options: BatchOptions, calls: Calls) -> None:
        self._source = source
        self._options = options
        self._calls = calls
        self._most = options.concurrency or MOST_WORKERS
        room = max(_READY, _AHEAD * self._most) if options.ordered else _READY
        self.outbox: Outbox[Any] = Outbox(room=room, ordered=options.ordered)
        self.halt: Halt = Halt(self._wake)
        self.tally: Tally = Tally(monotonic, total=source.total)
        self._requests_before = 0
        self._requests: int | None = None
        self._intake: Intake | None = None
        self._conductor: Conductor | Preview | None = None
        self._reconciler: Reconciler | None = None
        self._ledger = Ledger(None, calls.clock)
        self._workers: set[asyncio.Task[None]] = set()
        self._starting = 0
        self._ended = asyncio.Event()
        self._error: BaseException | None = None
        self._input_error: Exception | None = None
        """What reading the inputs raised; it is raised when all that was read before has ended."""
        self._reported = 0.0
        self._ticking: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self, running: set[Engine]) -> None:
        """Begin, and be one of those that are *running* until all is closed."""
        running.add(self)
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(lambda _: running.discard(self))

    def stop(self, *, drain: bool, reason: str) -> None:
        """Begin nothing more; unless *drain*, leave what runs too."""
        self.halt(reason)
        if not drain:
            self._ended.set()

    async def aclose(self) -> None:
        """Leave what runs, and wait until everything is closed, whatever cancels this."""
        task = self.task
        if task is None:
            return
        if self._requests is None:  # not over by itself
            self.stop(drain=False, reason="left")
        interrupted: asyncio.CancelledError | None = None
        # The shield keeps off anyio's scopes, which cancel again and again; asyncio cancels once.
        with anyio.CancelScope(shield=True):
            while not task.done():
                try:
                    await asyncio.wait({task})
                except asyncio.CancelledError as cancelled:
                    task.cancel()  # a second wish to end: at once
                    interrupted = cancelled
        if interrupted is not None:
            raise interrupted

    @property
    def error(self) -> BaseException | None:
        """What has ended it before its inputs did, if that was an error."""
        return self._error

    def summary(self) -> BatchSummary:
        """Return what the batch came to so far."""
        sent = self._requests
        if sent is None:
            started = self.tally.began is not None
            sent = self._calls.requests() - self._requests_before if started else 0
        return self.tally.summary(requests=sent, stopped=self.halt.reason)

    async def _run(self) -> None:
        self.tally.began = monotonic()
        self._requests_before = self._calls.requests()
        limit: asyncio.TimerHandle | None = None
        try:
            await self._open()
            self._tick_after(_PROGRESS_EVERY)
            if self._options.max_seconds is not None:
                loop = asyncio.get_running_loop()
                limit = loop.call_later(self._options.max_seconds, self.halt, "max_seconds")
            self._grow()
            if self._workers:
                await self._ended.wait()
            if self._input_error is not None:
                self._set_error(self._input_error)
                self.halt("error")
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            if limit is not None:
                limit.cancel()
            if self._ticking is not None:
                self._ticking.cancel()
            try:
                await self._close()
            except Exception as error:  # noqa: BLE001 - it is raised to whoever iterates
                self._set_error(error)
                self.halt("error")
            finally:
                self.tally.ended = monotonic()
                self._requests = self._calls.requests() - self._requests_before
                self._finish()

    def _finish(self) -> None:
        error = self._error
        if isinstance(error, asyncio.CancelledError):
            error = None
        try:
            self._report(at_once=True)
        except Exception as raised:  # noqa: BLE001 - the user's own; it is raised to whoever iterates
            error = error or raised
        if isinstance(error, ReplicateError):
            error.add_note(self._note(error))
        self.outbox.close(error)

    async def _open(self) -> None:
        options = self._options
        if options.journal is not None:
            journal = await self._open_journal(options.journal)
            self._ledger = Ledger(journal, self._calls.clock)
        namer = Namer(
            options.model,
            options.key,
            exact=options.journal is not None,
            match=options.match,
        )
        self._intake = Intake(self._source, namer, self._ledger, self.outbox, self.halt)
        if options.dry_run:
            self._conductor = Preview(await self._calls.input_schema())
            return
        self._reconciler = Reconciler(
            self._ref,
            self._calls.pages,
            self._calls.get,
            self._ledger,
            self._calls.clock,
            options.patience,
        )
        self._conductor = Conductor(
            options,
            self._calls,
            self._ledger,
            self._reconciler,
            self.halt,
            self.tally,
        )

    def _ref(self) -> VersionRef:
        """Return the model with the version that is asked for."""
        ref, version = parse_version(self._options.model), self._ledger.latest_version
        return ref if version is None else ref._replace(version=version)

    async def _open_journal(self, path: str) -> Journal | None:
        options = self._options
        header = JournalHeader(
            model=options.model, version=options.version, options=options.digest, sdk=options.sdk
        )
        try:
            return await Journal.open(
                path, header, create=not options.dry_run, by_key=options.match == "key"
            )
        except InvalidArgumentError:
            if options.dry_run:  # there is none yet: everything would be created
                return None
            raise

    def _wake(self) -> None:
        if self._intake is not None:
            self._intake.wake()
        if self._reconciler is not None:
            self._reconciler.hurry()
        if isinstance(self._conductor, Conductor):
            self._conductor.halted()

    def _grow(self) -> None:
        """Add a worker when all others are busy and more creates may begin."""
        intake = self._intake
        assert intake is not None  # noqa: S101 - opened before there are workers
        if (
            not intake.waiting
            and self._starting < CREATORS
            and len(self._workers) < self._most
            and self.halt.reason is None
        ):
            worker = asyncio.create_task(self._work(intake))
            self._workers.add(worker)
            worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        error = None if worker.cancelled() else worker.exception()
        if error is not None:
            self._fail(error)
        if not self._workers:
            self._ended.set()

    def _fail(self, error: BaseException) -> None:
        """End the batch because of *error*; with a journal, what runs is left to a resume.

        When a resume cannot know of it, or nothing is wrong but the inputs, it is waited for.
        """
        if isinstance(error, JournalLostError | JournalMismatch):
            self._set_error(error)
            self.halt("error")
            return
        lasting = self._ledger.lasting and isinstance(error, Exception)
        if lasting and isinstance(self._conductor, Conductor):
            self._conductor.abandoned = True
        self._set_error(error)
        self.halt("error")
        self._ended.set()

    def _set_error(self, error: BaseException) -> None:
        """Keep the first error, which is raised when all results were handed over."""
        if self._error is None:
            self._error = error

    def _note(self, error: ReplicateError) -> str:
        resumes = self._ledger.lasting and not isinstance(error, JournalLostError)
        again = "Run it again with the same journal to go on." if resumes else ""
        return f"The batch stopped after {self.tally.done} items. {again}".rstrip()

    async def _work(self, intake: Intake) -> None:
        conductor = self._conductor
        assert conductor is not None  # noqa: S101 - opened before there are workers
        while (item := await self._take(intake)) is not None:
            begun = _Start(self)
            self.tally.running += 1
            try:
                self._grow()
                ended = await conductor.run(item, begun)
            except Exception as error:
                if isinstance(error, ReplicateError | MemoryError) or is_disk_full(error):
                    raise
                ended = Ended(result_of(item, error=_error_of(item, error)))
            finally:
                self.tally.running -= 1
                begun()
            if ended is not None:
                self._hand_over(ended)

    async def _take(self, intake: Intake) -> Item | None:
        """Return the next item, None when there are no more; inputs that break off end there."""
        try:
            return await intake.take()
        except JournalError:
            raise
        except Exception as error:  # noqa: BLE001 - the user's own; it is raised in the end
            self._input_error = self._input_error or error
            return None

    def _hand_over(self, ended: Ended) -> None:
        if ended.planned:
            self.tally.planned += 1
        else:
            self.tally.count(ended.result, replayed=ended.replayed)
        self.outbox.put(ended.result)
        if not ended.result.ok and self._options.on_error == "raise":
            self.halt("error")
        self._report()

    def _report(self, *, at_once: bool = False) -> None:
        if self._options.on_progress is None:
            return
        now = monotonic()
        if at_once or now - self._reported >= _PROGRESS_EVERY:
            self._reported = now
            self._options.on_progress(self.tally.progress())

    def _tick_after(self, seconds: float) -> None:
        if self._options.on_progress is not None:
            self._ticking = asyncio.get_running_loop().call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._tick_after(_TICK)
        try:
            self._report()
        except Exception as error:  # noqa: BLE001 - the user's own; it is raised to whoever iterates
            self._fail(error)

    def starting(self, change: int) -> None:
        """Count a worker that begins or has begun an item; with room for more, add one."""
        self._starting += change
        if change < 0 and self._intake is not None:
            self._grow()

    async def _close(self) -> None:
        for worker in self._workers:
            worker.cancel()
        try:
            if self._workers:
                await asyncio.wait(self._workers, timeout=_CLOSES_WITHIN)
        finally:
            for worker in self._workers:
                worker.cancel()
            await self._close_parts()

    async def _close_parts(self) -> None:
        try:
            if self._reconciler is not None:
                await self._reconciler.aclose()
            if self._intake is not None:
                await self._intake.aclose()
        finally:
            await self._ledger.aclose()


def _error_of(item: Item, error: Exception) -> ReplicateError:
    """Return the error of an item that raised *error*, which is no business of the others."""
    entry = item.entry
    open_before = entry is not None and entry.state in (State.INTENT, State.UNCERTAIN)
    if item.prediction_id is None and (item.intent_at or open_before):
        intent_at = item.intent_at or (entry.intent_at if entry is not None else None) or 0.0
        return odd_create(item.key, intent_at, error)
    return odd_item(item.named.index, item.key, error, item.prediction_id)


class _Start:
    """The time in which an item is about to be created; it ends once."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine: Engine | None = engine
        engine.starting(1)

    def __call__(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.starting(-1)
