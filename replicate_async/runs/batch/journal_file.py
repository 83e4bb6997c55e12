"""A journal's file: made whole or not at all, and looked at before it is trusted."""

from __future__ import annotations

import os
import sqlite3
import sys
import zlib
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from replicate_async.errors import (
    InvalidArgumentError,
    JournalDamaged,
    JournalError,
    JournalMismatch,
    JournalTooNew,
    JournalWriteError,
)
from replicate_async.files.folder import sync_folder
from replicate_async.runs.batch.journal_entry import FORMAT, JournalHeader
from replicate_async.runs.batch.journal_lock import Lock
from replicate_async.runs.batch.journal_rows import SCHEMA, DamagedRowError
from replicate_async.runs.batch.journal_watch import JournalWatch

APPLICATION: Final = 0x52_41_4A_31
"""What says that an SQLite file is a journal: "RAJ1" where the file format has room for it."""

_BUSY: Final = 5.0  # seconds that another program's look into the file may hold things up
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@contextmanager
def open_journal(
    path: Path, header: JournalHeader, *, create: bool
) -> Generator[tuple[sqlite3.Connection, JournalHeader, JournalWatch]]:
    """Hold the journal *path* for writing, and give what it says it belongs to.

    A journal that is not there is made with *header*, one that is there has to match it.
    """
    with explained(path):
        lock = Lock(path)
    try:
        with explained(path):
            _make_if_missing(path, header, create=create)
            db = _connect(path)
        with closing(db):
            with explained(path):
                there = read_header(path, db)
                match(path, there, header)
                # Also writes anew what a log holds whose sync may have failed.
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                watch = JournalWatch(path, lock)
            yield db, there, watch
    finally:
        lock.release()


def _make_if_missing(path: Path, header: JournalHeader, *, create: bool) -> None:
    if path.exists():
        return
    if not create:
        raise InvalidArgumentError(f"there is no journal at {path}: check the path.")
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        # SQLite would take the old log for a part of the new file.
        raise JournalDamaged(
            f"{path} is gone, and {log.name} beside it is not: restore the one, or delete the "
            "other to begin anew."
        )
    _create(path, header)


def _create(path: Path, header: JournalHeader) -> None:
    # Others see it when it is complete and on disk.
    unfinished = path.with_name(f"{path.name}.new")
    for left in _family(unfinished):
        left.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    said = msgspec.json.encode(header)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as db:
        db.execute("PRAGMA fullfsync = ON")
        # Nobody goes on with half a file, so it needs no journal of its own. A log would be copied
        # into it when it is closed, where an error shows nowhere.
        db.execute("PRAGMA journal_mode = MEMORY")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(f"BEGIN; {SCHEMA}")
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute("INSERT INTO header VALUES (1, ?, ?)", (said, zlib.crc32(said)))
        db.execute("COMMIT")
    unfinished.replace(path)
    _sync_folder(path.parent)


def _connect(path: Path) -> sqlite3.Connection:
    has_log = path.with_name(f"{path.name}-wal").exists()  # SQLite makes one at the first look
    db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        check(path, db)
        if not has_log:
            _check_length(path, db)
        check_whole(path, db)
        db.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync does not reach the platter
        db.execute("PRAGMA checkpoint_fullfsync = ON")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = -1")  # a log that shrinks was changed by others
        _use_wal(path, db)
    except BaseException:
        db.close()
        raise
    return db


def _use_wal(path: Path, db: sqlite3.Connection) -> None:
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalError(
            f"{path} cannot be a journal where it is: SQLite has no write-ahead log there. Put it "
            "on a local disk."
        )


def check(path: Path, db: sqlite3.Connection) -> None:
    """Refuse a file that is empty, no journal, or of another format."""
    if not path.stat().st_size:
        raise JournalDamaged(
            f"{path} is empty, which no journal is: delete it, if it held nothing, to begin anew."
        )
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise JournalDamaged(f"{path} is not a journal: use another path.")
    if version > FORMAT:
        raise JournalTooNew(
            f"{path} has format {version}, and this version of replicate-async knows formats up to "
            f"{FORMAT}: update it to resume this run."
        )
    if version < FORMAT:
        raise JournalError(
            f"{path} has format {version}, of an older version of replicate-async; this one reads "
            f"format {FORMAT} only. Resume the run with the version that began it, or begin a new "
            "journal with the inputs that it has not done."
        )


def _check_length(path: Path, db: sqlite3.Connection) -> None:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    if path.stat().st_size < pages * size:
        raise JournalDamaged(damage(path, "its end is missing"))


def check_whole(path: Path, db: sqlite3.Connection) -> None:
    """Refuse a journal whose items are damaged.

    Results may be large, and are compared with their checksums when they are read.
    """
    (said,) = db.execute("PRAGMA integrity_check(items)").fetchone()
    if said != "ok":
        raise JournalDamaged(damage(path, " ".join(said.split())))


def read_header(path: Path, db: sqlite3.Connection) -> JournalHeader:
    """Return what the journal says that it belongs to."""
    said, crc = db.execute("SELECT json, crc FROM header").fetchone() or (b"", None)
    if zlib.crc32(said) != crc:
        raise JournalDamaged(damage(path, "its header is not as it was written"))
    return msgspec.json.decode(said, type=JournalHeader)


def match(path: Path, there: JournalHeader, wanted: JournalHeader) -> None:
    """Refuse a journal that belongs to another run."""
    for name, is_there, is_wanted in (
        ("model", there.model, wanted.model),
        ("version", there.version, wanted.version),
        ("options", there.options, wanted.options),
    ):
        if is_there != is_wanted:
            raise JournalMismatch(
                f"{path} belongs to another run: its {name} is {is_there!r}, not {is_wanted!r}. "
                "Use another journal for this one."
            )


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Raise what SQLite and the system say about *path* as what it means."""
    try:
        yield
    except (sqlite3.Error, DamagedRowError) as error:
        raise failure(path, error) from error
    except OSError as error:
        raise JournalWriteError(
            f"{path} cannot be used: {error.strerror or error}. Check that its folder is there and "
            "may be written to."
        ) from error


def failure(path: Path, error: Exception) -> JournalError:
    """Return what an error means for the journal at *path*."""
    if isinstance(error, DamagedRowError):
        return JournalDamaged(damage(path, str(error)))
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return JournalDamaged(damage(path, str(error)))
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return JournalWriteError(
        f"{path} cannot be written: {error} ({name}). What was acknowledged is safe: see to the "
        "disk, and run the same again to resume."
    )


def damage(path: Path, said: str) -> str:
    """Return what to say of a damaged journal."""
    return (
        f"{path} is damaged: {said}. Restore it from a copy, or look in it and in the list of "
        "predictions for what was run before you begin with a new journal."
    )


def _family(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))]


def _sync_folder(folder: Path) -> None:
    if sys.platform != "win32":  # where folders cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            sync_folder(descriptor)
        finally:
            os.close(descriptor)
