"""Detection of journal files that were deleted, moved, replaced or changed by others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NoReturn

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
    """Compares the journal, its write-ahead log and its lock file with those that were opened.

    SQLite neither replaces nor shrinks the journal or the log while a connection is open
    (``journal_size_limit`` is off), and both grow only while the writer commits. Readers do not
    change them. A moved folder is a loss too: the next run would find no journal at its path.
    """

    def __init__(self, journal: Path, lock: Lock) -> None:
        log = journal.with_name(f"{journal.name}-wal")
        self._lock = lock.path
        self._known = {journal: journal.stat(), log: log.stat(), lock.path: lock.stat()}

    def check(self, *, written: bool) -> None:
        """Raise `JournalLostError` when a file is another one, or is gone, or changed in size.

        Once the writer has *written*, the files may have grown.
        """
        found: dict[Path, os.stat_result] = {}
        for path, known in self._known.items():
            try:
                found[path] = path.stat()
            except OSError:  # in a folder that cannot be read, the next run finds no journal
                self._lose(path, "was deleted or moved")
            if not os.path.samestat(found[path], known):
                self._lose(path, "was replaced by another file")
        # The sizes come last: a run that took the lock has changed them.
        for path, now in found.items():
            before = self._known[path].st_size
            if now.st_size < before or (now.st_size > before and not written):
                sizes = f"it has {now.st_size:,} bytes and had {before:,}"
                self._lose(path, "was changed by another program", f": {sizes}")
        self._known = found

    def _lose(self, path: Path, harm: str, detail: str = "") -> NoReturn:
        advice = _ALONE if path == self._lock else _RESUME
        raise JournalLostError(f"{path} {harm} while it was in use{detail}. {advice}")
