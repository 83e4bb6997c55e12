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
_ADVICE: Final = (
    "No more predictions are created: another run may use the journal now, or a later one not find "
    "it. When it is where it was, and no other run uses it, run the same batch again to resume. "
    "With a new journal, every input would be created again."
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
        self._known |= {path: path.stat() for path in paths}

    def check(self, *, written: bool) -> None:
        """Raise `JournalLostError` when a file is another one, or is gone, or changed in size.

        Once the writer has *written*, the files may have grown.
        """
        # The lock comes first: a run that took it has changed the other files.
        for path, known in self._known.items():
            try:
                found = path.stat()
            except OSError:  # in a folder that cannot be read, the next run finds no journal
                _lose(path, "was deleted or moved")
            if not os.path.samestat(found, known):
                _lose(path, "was replaced by another file")
            size, before = found.st_size, known.st_size
            if size < before or (size > before and not written):
                harm = f"was changed by another program from {before:,} to {size:,} bytes"
                _lose(path, harm)
            self._known[path] = found

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


def _lose(path: Path, harm: str) -> NoReturn:
    raise JournalLostError(f"{path} {harm} while it was in use. {_ADVICE}")


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
