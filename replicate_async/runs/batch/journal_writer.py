"""The thread that owns a journal's connection, and commits in groups what arrives together."""

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
from replicate_async.runs.batch.journal_entry import JournalHeader
from replicate_async.runs.batch.journal_file import failure, open_journal
from replicate_async.runs.batch.journal_rows import DamagedRowError
from replicate_async.runs.batch.journal_table import Table
from replicate_async.runs.batch.journal_watch import JournalWatch

_GROUP: Final = 1_000
"""The most calls that are committed together, so that the first of them does not wait long."""

Work = Callable[[Table], Any]


class Call:
    """Something to be done in the thread, and the future that waits for it.

    A call that is *revoked* before the thread comes to it is left out; *carried_out* says whether
    it was done, once a later call is. An *optional* one is left out once the journal is lost.
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


class Writer:
    """Carries out calls one after the other, and answers when what they wrote is on disk.

    It knows the journal's path and the event loop, and no more of whoever calls, so that a journal
    that was forgotten can be collected and its file let go.
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
        # A daemon, because a journal that was not closed must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=f"journal {path.name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> JournalLostError | None:
        """Why the journal is lost, if it is; known for good when it is closed."""
        return self._broken if isinstance(self._broken, JournalLostError) else None

    def submit(self, work: Work, *, optional: bool = False) -> Call:
        """Have *work* done; the call's future has what it returns once that is on disk."""
        call = Call(work, self._loop.create_future(), optional=optional)
        self._calls.put(call)
        return call

    def revoke(self, call: Call, undo: Work) -> None:
        """Have *call* left out, or *undo* done if that is too late."""
        call.revoked = True
        self.submit(lambda table: undo(table) if call.carried_out else None).future.cancel()

    def stop(self) -> None:
        """Have the journal closed after all that was submitted before."""
        self._calls.put(None)

    def _run(self) -> None:
        try:
            with open_journal(self._path, self._header, create=self._create) as opened:
                db, header, watch = opened
                self._answer(_set_result, self.opened, header)
                self._serve(db, watch)
        except Exception as error:  # noqa: BLE001 - whoever opened the journal gets it
            self._answer(_set_error, self.opened, error)
        finally:
            self._answer(_set_result, self.closed, None)

    def _serve(self, db: sqlite3.Connection, watch: JournalWatch) -> None:
        table = Table(db, self._clock)
        last = False
        while not last:
            group, last = self._next_group()
            outcomes = self._try_to_commit(db, table, watch, group)
            self._answer(_deliver, outcomes)

    def _next_group(self) -> tuple[list[Call], bool]:
        """Wait for a call, and take along what arrived meanwhile; True when it was the last."""
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
        self, db: sqlite3.Connection, table: Table, watch: JournalWatch, group: list[Call]
    ) -> list[_Outcome]:
        """Carry out *group*, unless the files are not those that were opened any more.

        They are looked at before, so that nothing is written into what belongs to others, and
        after: a runner that takes a lost lock after that sees the intents of this commit.
        """
        try:
            if self._broken is None:
                watch.check()
                outcomes = self._commit(db, table, group)
                watch.check(written=True)
                return outcomes
        except JournalLostError as error:
            self._broken = error
        return self._refuse(group)

    def _commit(self, db: sqlite3.Connection, table: Table, group: list[Call]) -> list[_Outcome]:
        try:
            db.execute("BEGIN")
            outcomes = [_carry_out(call, table) for call in group]
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - told apart below, and given to whoever waits
            with suppress(sqlite3.Error):
                db.rollback()
            table.rolled_back()
            if _ends_it(error):
                self._broken = failure(self._path, error)
                return self._refuse(group)
            if len(group) == 1:
                return [_Outcome(group[0], error=_said_plainly(error))]
            # One call of the group cannot be carried out: the others shall not suffer from it.
            return [outcome for call in group for outcome in self._alone(db, table, call)]
        return outcomes

    def _alone(self, db: sqlite3.Connection, table: Table, call: Call) -> list[_Outcome]:
        return self._refuse([call]) if self._broken else self._commit(db, table, [call])

    def _refuse(self, group: list[Call]) -> list[_Outcome]:
        broken = self._broken or JournalWriteError(str(self._path))
        lost = isinstance(broken, JournalLostError)
        # An error of its own for each: they are raised in different tasks.
        return [
            _Outcome(call, error=None if lost and call.optional else type(broken)(str(broken)))
            for call in group
        ]

    def _answer(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(function, *arguments)


def _carry_out(call: Call, table: Table) -> _Outcome:
    call.carried_out = False
    if call.revoked:
        return _Outcome(call)
    try:
        value = call.work(table)
    except ReplicateError as error:  # it has changed nothing
        return _Outcome(call, error=error)
    call.carried_out = True
    return _Outcome(call, value)


def _ends_it(error: Exception) -> bool:
    """Whether nothing can be trusted after *error*, which is not just about one call's values."""
    about_values = (
        sqlite3.DataError,
        sqlite3.IntegrityError,
        sqlite3.InterfaceError,
        sqlite3.ProgrammingError,
    )
    ends = (sqlite3.Error, DamagedRowError, MemoryError)
    return isinstance(error, ends) and not isinstance(error, about_values)


def _said_plainly(error: Exception) -> Exception:
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
