"""The lock of a journal: one process at a time writes it, and notices changes by others."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NoReturn

from replicate_async.errors import JournalLockedError, JournalLostError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FAR: Final = 2**30  # Windows locks bytes, and those that are locked cannot be read by others
_RESUME: Final = (
    "No more predictions are created, for a later run could not know of them. Put the journal back "
    "where it was and run the same batch again to resume: with a new journal, every input would be "
    "created again."
)
_ALONE: Final = (
    "No more predictions are created, for another run may use the journal now. When there is no "
    "other, run the same batch again to resume."
)


class Lock:
    """A lock on ``<journal>.lock``, which the system releases when the process ends.

    It is not on the journal itself: closing any descriptor of that file would drop the locks that
    SQLite has on it.

    The lock does not keep users from deleting, moving or replacing files: `check` notices that. A
    moved folder is a loss too: the next run would find no journal at its path.
    """

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(f"{journal.name}.lock")
        self._descriptor = self._acquire(journal)
        self._known = {self._path: os.fstat(self._descriptor)}
        """The files as they were at the last check."""

    def watch(self, *paths: Path) -> None:
        """Have `check` look at the files of the journal too, which are open now.

        SQLite neither replaces nor shrinks the journal or its log while a connection is open
        (``journal_size_limit`` is off), and both grow only while the writer commits. Readers do not
        change them.
        """
        self._known = {path: path.stat() for path in paths} | self._known

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
        advice = _ALONE if path == self._path else _RESUME
        raise JournalLostError(f"{path} {harm} while it was in use{detail}. {advice}")

    def _acquire(self, journal: Path) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            with ExitStack() as opened:
                opened.callback(os.close, descriptor)
                if not _locked(descriptor):
                    _refuse(journal, descriptor)
                if self._is_current(descriptor):
                    _sign(descriptor)
                    opened.pop_all()
                    return descriptor

    def _is_current(self, descriptor: int) -> bool:
        """Whether the file still has its name: its last owner may have removed it."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Release the lock, and remove its file unless another process has replaced it."""
        if sys.platform != "win32":
            with suppress(OSError):
                if self._is_current(self._descriptor):
                    self._path.unlink()
        os.close(self._descriptor)

    def forget(self) -> None:
        """Close the copy of the lock in a forked child; the parent keeps its own."""
        os.close(self._descriptor)


def _locked(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _sign(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _refuse(journal: Path, descriptor: int) -> NoReturn:
    owner = os.read(descriptor, 200).decode(errors="replace").strip()
    by = f" ({owner})" if owner else ""
    raise JournalLockedError(
        f"{journal} is in use by another run{by}: two would create everything twice. Wait until it "
        "ends or stop it, or give this run a journal of its own."
    )
