"""Detects that the files of a journal are not those that were opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from replicate_async.errors import JournalLostError
from replicate_async.runs.batch.journal.lock import Lock

_RESUME: Final = (
    "No more predictions are created, for a later run could not know of them. Put the journal back "
    "where it was and run the same batch again to resume: with a new journal, every input would be "
    "created again."
)
_ALONE: Final = (
    "No more predictions are created, for another run may use the journal now. When there is no "
    "other, run the same batch again to resume."
)


class JournalWatch:
    """Compares the journal, its write-ahead log and its lock with the files that were opened.

    SQLite neither replaces nor shrinks the journal or the log while a connection is open
    (``journal_size_limit`` is off), and both grow only while the writer commits. Readers do not
    change them. A moved folder is a loss too: the next run would find no journal at its path.
    """

    def __init__(self, journal: Path, lock: Lock) -> None:
        self._lock = lock
        log = journal.with_name(f"{journal.name}-wal")
        self._known = {path: path.stat() for path in (journal, log)}

    def check(self, *, written: bool = False) -> None:
        """Raise `JournalLostError` when a file is another one, or is gone, or changed in size.

        Once the writer has *written*, the files may have grown.
        """
        found = {path: _stat_if_there(path) for path in self._known}
        for path, now in found.items():
            if now is None:
                raise JournalLostError(
                    f"{path} was deleted or moved while it was in use. {_RESUME}"
                )
            if not os.path.samestat(now, self._known[path]):
                raise JournalLostError(
                    f"{path} was replaced by another file while it was in use. {_RESUME}"
                )
        # Before the sizes: a run that took the lock has changed them.
        self._check_lock()
        for path, now in found.items():
            if now is not None:
                self._check_size(path, now, written=written)

    def _check_size(self, path: Path, now: os.stat_result, *, written: bool) -> None:
        before = self._known[path].st_size
        if now.st_size == before:
            return
        if not written or now.st_size < before:
            raise JournalLostError(
                f"{path} was changed by another program while it was in use: it has "
                f"{now.st_size:,} bytes and had {before:,}. {_RESUME}"
            )
        self._known[path] = now

    def _check_lock(self) -> None:
        path = self._lock.path
        now = _stat_if_there(path)
        if now is None:
            raise JournalLostError(f"{path} was deleted or moved while it was in use. {_ALONE}")
        if not self._lock.is_same(now):
            raise JournalLostError(
                f"{path} was replaced by another file while it was in use. {_ALONE}"
            )


def _stat_if_there(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # in a folder that cannot be read, the next run finds no journal
        return None
