"""The thread that owns a journal's connection, and commits calls in groups."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from replicate_async.errors import (
    InvalidArgumentError,
    JournalError,
    JournalLostError,
    JournalWriteError,
    ReplicateError,
)
from replicate_async.runs.batch.journal.entry import JournalHeader
from replicate_async.runs.batch.journal.file import failure, open_file
from replicate_async.runs.batch.journal.store import DamagedRowError, Store
from replicate_async.runs.batch.journal.watch import JournalWatch

_GROUP: Final = 1_000
"""The most calls in one commit, so that the first of them does not wait long."""

Work = Callable[[Store], Any]


class Call:
    """A change or a query, and the future that has its value once it is on disk.

    A call that is *revoked* before its turn is skipped. *carried_out* tells a later call whether it
    took effect. An *optional* call does nothing once the journal is lost.
    """

    __slots__ = ("carried_out", "future", "optional", "revoked", "work")

    def __init__(self, work: Work, future: asyncio.Future[Any], *, optional: bool) -> None:
        self.work: Work = work
        self.future: asyncio.Future[Any] = future
        self.optional: bool = optional
        self.revoked: bool = False
        self.carried_out: bool = False


class _Outcome(NamedTuple):
    call: Call
    value: object = None
    error: Exception | None = None


class JournalWriter:
    """Carries out calls in their order, in a thread.

    It holds no reference to the `Journal`, so that a journal that was not closed can be collected.
    """

    def __init__(
        self,
        path: Path,
        header: JournalHeader,
        *,
        create: bool,
        clock: Callable[[], float],
    ) -> None:
        self._path = path
        self._header = header
        self._create = create
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._broken: JournalError | None = None
        self.opened: asyncio.Future[JournalHeader] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        # A daemon: a journal that was not closed must not keep the program running.
        self._thread = threading.Thread(target=self._run, name=f"journal {path.name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> JournalLostError | None:
        """The error of a journal that is lost; final once it is closed."""
        return self._broken if isinstance(self._broken, JournalLostError) else None

    def submit(self, work: Work, *, optional: bool = False) -> Call:
        """Queue *work* for the next commit."""
        call = Call(work, self._loop.create_future(), optional=optional)
        self._calls.put(call)
        return call

    def revoke(self, call: Call, undo: Work) -> None:
        """Skip *call*, or carry out *undo* if it has taken effect."""
        call.revoked = True
        self.submit(lambda store: undo(store) if call.carried_out else None).future.cancel()

    def stop(self) -> None:
        """Close the journal after all calls that are queued."""
        self._calls.put(None)

    def _run(self) -> None:
        try:
            with open_file(self._path, self._header, create=self._create) as (db, header, watch):
                self._answer(_set_result, self.opened, header)
                self._serve(db, watch)
        except Exception as error:  # noqa: BLE001 - the caller of Journal.open gets it
            self._answer(_set_error, self.opened, error)
        finally:
            self._answer(_set_result, self.closed, None)

    def _serve(self, db: sqlite3.Connection, watch: JournalWatch | None) -> None:
        store = Store(db, self._clock, persistent=watch is not None)
        last = False
        while not last:
            group, last = self._next_group()
            self._answer(_deliver, self._try_to_commit(db, store, watch, group))

    def _next_group(self) -> tuple[list[Call], bool]:
        """Wait for a call; return it with those that are queued, and whether it was the last."""
        call = self._calls.get()
        group: list[Call] = []
        with suppress(Empty):
            while call is not None:
                group.append(call)
                if len(group) == _GROUP:
                    return group, False
                call = self._calls.get_nowait()
            return group, True
        return group, False

    def _try_to_commit(
        self, db: sqlite3.Connection, store: Store, watch: JournalWatch | None, group: list[Call]
    ) -> list[_Outcome]:
        """Commit *group*, unless the files are not those that were opened.

        They are checked before, so that nothing is written into the files of another run, and
        after: a run that takes a lost lock after that sees the intents of this commit.
        """
        try:
            if self._broken is None:
                if watch is not None:
                    watch.check()
                outcomes = self._commit(db, store, group)
                if watch is not None:
                    watch.check(written=True)
                return outcomes
        except JournalLostError as error:
            self._broken = error
        return self._refuse(group)

    def _commit(self, db: sqlite3.Connection, store: Store, group: list[Call]) -> list[_Outcome]:
        try:
            db.execute("BEGIN")
            outcomes = [_carry_out(call, store) for call in group]
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - sorted below, and given to the callers
            with suppress(sqlite3.Error):
                db.rollback()
            if _is_fatal(error):
                self._broken = failure(self._path, error)
                return self._refuse(group)
            if len(group) == 1:
                return [_Outcome(group[0], error=_plain(error))]
            # One call of the group cannot be carried out: commit each of them alone.
            return [
                outcome
                for call in group
                for outcome in (
                    self._refuse([call]) if self._broken else self._commit(db, store, [call])
                )
            ]
        return outcomes

    def _refuse(self, group: list[Call]) -> list[_Outcome]:
        broken = self._broken or JournalWriteError(str(self._path))
        lost = isinstance(broken, JournalLostError)
        # A new error for each: they are raised in different tasks.
        return [
            _Outcome(call, error=None if lost and call.optional else type(broken)(str(broken)))
            for call in group
        ]

    def _answer(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(function, *arguments)


def _carry_out(call: Call, store: Store) -> _Outcome:
    call.carried_out = False
    if call.revoked:
        return _Outcome(call)
    try:
        value = call.work(store)
    except ReplicateError as error:  # it has changed nothing
        return _Outcome(call, error=error)
    call.carried_out = True
    return _Outcome(call, value)


def _is_fatal(error: Exception) -> bool:
    """Whether *error* is not only about the values of one call."""
    about_values = (
        sqlite3.DataError,
        sqlite3.IntegrityError,
        sqlite3.InterfaceError,
        sqlite3.ProgrammingError,
    )
    fatal = (sqlite3.Error, DamagedRowError, MemoryError)
    return isinstance(error, fatal) and not isinstance(error, about_values)


def _plain(error: Exception) -> Exception:
    if isinstance(error, OverflowError | UnicodeEncodeError | sqlite3.DataError):
        return InvalidArgumentError(f"the journal cannot keep a value: {error}")
    return error


def _deliver(outcomes: list[_Outcome]) -> None:
    for call, value, error in outcomes:
        if error is None:
            _set_result(call.future, value)
        else:
            _set_error(call.future, error)


def _set_result(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _set_error(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
