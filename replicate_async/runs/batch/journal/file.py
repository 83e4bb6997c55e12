"""The file of a journal: created atomically, checked when it is opened, changed in commits."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from replicate_async.errors import (
    InvalidArgumentError,
    JournalDamagedError,
    JournalError,
    JournalMismatchError,
    JournalTooNewError,
    JournalWriteError,
)
from replicate_async.files.part_file import sync_folder
from replicate_async.runs.batch.journal.entry import FORMAT, JournalHeader
from replicate_async.runs.batch.journal.lock import Lock
from replicate_async.runs.batch.journal.store import SCHEMA, DamagedError, Store

APPLICATION: Final = 0x52_41_4A_31
"""The SQLite application ID of a journal: "RAJ1"."""

MEMORY: Final = Path(":memory:")
"""The path of a journal in memory. A journal in a file has an absolute path."""

_BUSY: Final = 5.0  # seconds to wait while another program reads the file
_HELD: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""The last is that of tables or columns that are not there."""
_ENDS_JOURNAL: Final = (sqlite3.Error, DamagedError, OSError, MemoryError)
"""Errors that end the journal, but for `sqlite3.DataError`. Others are of one call."""

Work = Callable[[Store], Any]
"""A change or a query of the entries."""


class JournalFile:
    """An open journal. One thread makes it, uses it and closes it."""

    def __init__(self, path: Path, header: JournalHeader | None, *, create: bool) -> None:
        """Open the journal at *path*; one that is missing is made with *header* if *create*."""
        self._path = path
        self.broken: JournalError | None = None
        """The error that ended it: no later commit is made."""
        self.lock: Lock | None = None
        with explained(path), ExitStack() as opened:
            if path != MEMORY:
                self.lock = Lock(path)
                opened.callback(self.lock.release)
                _make_if_missing(path, header, create=create)
            self._db = db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY)
            opened.callback(db.close)
            if self.lock is None:
                self.header: JournalHeader = header or JournalHeader(model="")
                _fill(db, self.header)
            else:
                self.header = check(path, db)
                _check_run(path, self.header, header or self.header)
                _set_up(path, db)
                _check_items(db)
                # Writes the log again, whose sync may have failed.
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self.lock.watch(path, _log_of(path))
            self._store = Store(db, persistent=self.lock is not None)
            self._opened = opened.pop_all()
        _open_files.add(self)

    def commit(self, works: Sequence[Work]) -> list[object]:
        """Carry out *works* in one commit; return the value, or the exception, of each."""
        if self.broken is None:
            try:
                return self._commit(works)
            except Exception as error:  # noqa: BLE001 - raised by the calls
                self.broken = failure(self._path, error)
        # A new error for each: they are raised in different tasks.
        return [type(self.broken)(str(self.broken)) for _ in works]

    def _commit(self, works: Sequence[Work]) -> list[object]:
        # The files are checked before, so that nothing is written into those of another run, and
        # after: a run that takes a lost lock after that sees the intents of this commit.
        if self.lock is not None:
            self.lock.check(written=False)
        try:
            with self._db:  # commits, or rolls back after an error
                self._db.execute("BEGIN")
                outcomes = [work(self._store) for work in works]
        except Exception as error:
            is_of_value = isinstance(error, OverflowError | UnicodeEncodeError | sqlite3.DataError)
            if isinstance(error, _ENDS_JOURNAL) and not is_of_value:
                raise
            if len(works) > 1:  # each is committed alone
                return [outcome for work in works for outcome in self._commit([work])]
            if is_of_value:
                return [InvalidArgumentError(f"the journal cannot keep a value: {error}")]
            return [error]
        if self.lock is not None:
            self.lock.check(written=True)
        return outcomes

    def close(self) -> None:
        """Close the file and release the lock."""
        _open_files.discard(self)
        with explained(self._path):
            self._opened.close()


_open_files: Final[set[JournalFile]] = set()


def _forget_locks() -> None:
    """Give up the locks in a forked child; SQLite must not close the files there."""
    for file in _open_files:
        if file.lock is not None:
            file.lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def _make_if_missing(path: Path, header: JournalHeader | None, *, create: bool) -> None:
    if path.exists():
        return
    if header is None or not create:
        raise InvalidArgumentError(f"there is no journal at {path}: check the path.")
    log = _log_of(path)
    if log.exists():
        # SQLite would take the old log for a part of the new file.
        raise JournalDamagedError(
            f"{path} is gone, and {log.name} beside it is not: restore the one, or delete the "
            "other to start again."
        )
    # The file gets its name when it is complete and on disk.
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as db:
        db.execute("PRAGMA fullfsync = ON")
        # A half-made file is deleted, so it needs no rollback journal. A write-ahead log would be
        # copied into the file by close(), which hides errors.
        db.execute("PRAGMA journal_mode = MEMORY")
        db.execute("PRAGMA synchronous = FULL")
        _fill(db, header)
    unfinished.replace(path)
    sync_folder(path.parent)


def _fill(db: sqlite3.Connection, header: JournalHeader) -> None:
    db.executescript(f"BEGIN; {SCHEMA}")
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {FORMAT}")
    Store(db).set_header(header)
    db.execute("COMMIT")


def _set_up(path: Path, db: sqlite3.Connection) -> None:
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync does not reach the platter
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute("PRAGMA secure_delete = ON")  # of inputs, which may hold secrets
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = -1")  # a log that shrinks was changed by others
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalError(
            f"{path} cannot be a journal where it is: SQLite has no write-ahead log there. Put it "
            "on a local disk."
        )


def _check_items(db: sqlite3.Connection) -> None:
    """Raise `DamagedError` if the small rows of the items are not as they were written."""
    # Results may be large: checksums are compared when entries are read.
    (said,) = db.execute("PRAGMA integrity_check(items)").fetchone()
    if said != "ok":
        raise DamagedError(" ".join(said.split()))


def check(path: Path, db: sqlite3.Connection) -> JournalHeader:
    """Return the header; refuses a file that is empty, no journal, or of another format."""
    if not path.stat().st_size:
        raise JournalDamagedError(
            f"{path} is empty, and a journal never is. Delete it to start a new one."
        )
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise JournalDamagedError(f"{path} is not a journal: use another path.")
    if version > FORMAT:
        raise JournalTooNewError(
            f"{path} has format {version}, and this version of replicate-async knows formats up to "
            f"{FORMAT}: update it to resume this run."
        )
    if version < FORMAT:
        raise JournalError(
            f"{path} has format {version}, of an older version of replicate-async; this one reads "
            f"format {FORMAT} only. Resume the run with the version that began it, or begin a new "
            "journal with the inputs that it has not done."
        )
    said, crc = db.execute("SELECT json, crc FROM header").fetchone() or (b"", None)
    if zlib.crc32(said) != crc:
        raise DamagedError("its header is not as it was written")
    return msgspec.json.decode(said, type=JournalHeader)


def _check_run(path: Path, found: JournalHeader, wanted: JournalHeader) -> None:
    """Raise `JournalMismatchError` for a journal of another run."""
    for name in ("model", "version", "options"):
        there, given = getattr(found, name), getattr(wanted, name)
        if there != given:
            raise JournalMismatchError(
                f"{path} belongs to another run: its {name} is {there!r}, not {given!r}. "
                "Use another journal for this one."
            )


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Raise errors of SQLite and of the system as a `JournalError` about *path*."""
    try:
        yield
    except (sqlite3.Error, DamagedError, OSError) as error:
        raise failure(path, error) from error


def failure(path: Path, error: Exception) -> JournalError:
    """Return the `JournalError` for an *error* of the journal at *path*."""
    if isinstance(error, JournalError):
        return error
    if isinstance(error, OSError):
        return JournalWriteError(
            f"{path} cannot be used: {error.strerror or error}. Check that its folder is there and "
            "may be written to."
        )
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, sqlite3.OperationalError) and not code:  # text that is no UTF-8
        error = DamagedError(error)
    if isinstance(error, DamagedError) or code in _DAMAGED:
        return JournalDamagedError(
            f"{path} is damaged, or is not a journal: {error}. Restore it from a copy. Without "
            "one, look up in the list of predictions what has run before you start a new journal."
        )
    if code in _HELD:
        return JournalWriteError(
            f"{path} is held by another program: {error}. What was committed is safe. Close that "
            "program, and run the same batch again to resume."
        )
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return JournalWriteError(
        f"{path} cannot be written: {error} ({name}). What was committed is safe. Make room on the "
        "disk or repair it, and run the same batch again to resume."
    )


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
