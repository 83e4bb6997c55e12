"""The lock of a journal: one process at a time writes it."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from replicate_async.errors import JournalLockedError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FAR: Final = 2**30  # Windows locks bytes, and those that are locked cannot be read by others


class Lock:
    """A lock on ``<journal>.lock``, which the system releases when the process ends.

    It is not on the journal itself: closing any descriptor of that file would drop the locks that
    SQLite has on it.
    """

    def __init__(self, journal: Path) -> None:
        self.path: Path = journal.with_name(f"{journal.name}.lock")
        self._descriptor = self._acquire(journal)

    def _acquire(self, journal: Path) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if not _locked(descriptor):
                    _refuse(journal, descriptor)
                if self._is_current(descriptor):
                    _sign(descriptor)
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        """Whether the file still has its name: its last owner may have removed it."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))

    def stat(self) -> os.stat_result:
        """Return the status of the locked file, which may have lost its name."""
        return os.fstat(self._descriptor)

    def release(self) -> None:
        """Release the lock, and remove its file unless another process has replaced it."""
        if sys.platform != "win32":
            with suppress(OSError):
                if self._is_current(self._descriptor):
                    self.path.unlink()
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
