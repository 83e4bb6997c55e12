"""Part files, which hold the beginning of a download. All functions here may block."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final, Self

from replicate_async.errors import FileError, TargetExistsError
from replicate_async.files.names import numbered

if sys.platform != "win32":
    import fcntl

_LINKLESS: Final = frozenset({
    errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL, errno.EACCES
})  # fmt: skip
_UNSYNCABLE: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
_MAX_BUFFERS: Final = 512 if hasattr(os, "writev") else 0
_LONGEST_MARK: Final = 100
_MAX_NAMES: Final = 10_000


class PartFile:
    """A hidden file beside the target, which becomes the target when it is complete.

    Its name holds a hash of the download's *key* and, with a *validator*, the version of the file.
    That is all that another process needs to resume it.
    """

    def __init__(self, path: Path, file: FileIO, validator: str) -> None:
        self._path = path
        self._file = file
        self.validator: str = validator

    @classmethod
    def resume(cls, folder: Path, key: str) -> Self | None:
        """Return the part file that an earlier process left of the download *key*, locked.

        Part files that cannot be resumed are removed.
        """
        for path in folder.glob(f"{_prefix(key)}*.part"):
            file = _open_locked(path)
            if file is None:
                continue
            validator = _validator(path.name)
            if validator and _since_boot(os.fstat(file.fileno()).st_mtime):
                return cls(path, file, validator)
            path.unlink(missing_ok=True)  # while it is locked: it may be another's after that
            file.close()
        return None

    @classmethod
    def create(cls, folder: Path, key: str, validator: str) -> Self:
        """Create the part file for the download *key* of the version *validator*."""
        prefix = _prefix(key)
        mark = urlsafe_b64encode(validator.encode()).decode().rstrip("=")
        if mark and len(mark) <= _LONGEST_MARK:
            part = cls._create(folder / f"{prefix}{mark}.part", validator)
            if part is not None:
                return part
        while (part := cls._create(folder / f"{prefix}-{os.urandom(12).hex()}.part", "")) is None:
            pass
        return part

    @classmethod
    def _create(cls, path: Path, validator: str) -> Self | None:
        """Create and lock *path*; None if it exists, or another download was quicker to lock it."""
        try:
            file = path.open("xb", buffering=0)
        except FileExistsError:
            return None
        if _try_lock(file) is not False and _is_open_as(path, file):
            return cls(path, file, validator)
        file.close()
        return None

    def seek_end(self) -> int:
        """Go to the end of the file, and return its position."""
        return self._file.seek(0, os.SEEK_END)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append *pieces*."""
        # One system call where possible: each releases the interpreter lock and waits for it.
        fd = self._file.fileno()
        done = os.writev(fd, pieces) if 0 < len(pieces) <= _MAX_BUFFERS else 0
        for piece in pieces:
            rest = memoryview(piece)[done:]
            done = max(0, done - len(piece))
            while rest:
                rest = rest[os.write(fd, rest) :]

    def publish(self, name: str, *, size: int, unique: bool, overwrite: bool) -> Path:
        """Rename the file to *name*, or with *unique* to the next free name; returns its path.

        Raises `FileError` unless it has *size* bytes, and `TargetExistsError`.
        """
        os.fsync(self._file.fileno())
        if not _is_open_as(self._path, self._file):
            raise FileError("Another program has removed the unfinished file.")
        if os.fstat(self._file.fileno()).st_size != size:
            raise FileError("Another program has changed the file while it was downloaded.")
        for number in range(1, _MAX_NAMES):
            target = self._path.with_name(numbered(name, number))
            try:
                self._rename(target, overwrite=overwrite)
            except FileExistsError:
                if not unique:
                    raise _taken(target) from None
            else:
                sync_folder(target.parent)
                return target
        folder = self._path.parent
        raise FileError(f"{folder} has too many files named like {name!r}.", path=folder)

    def _rename(self, target: Path, *, overwrite: bool) -> None:
        if overwrite:
            check_target(target, overwrite=True)
        else:
            try:
                # A link fails if there is a file of the name; a rename would replace it.
                target.hardlink_to(self._path)
            except OSError as error:
                if error.errno not in _LINKLESS:
                    raise
                target.touch(exist_ok=False)  # claims the name
            else:
                return self._remove()
        self._path.replace(target)
        return None

    def close(self, *, keep: bool) -> None:
        """Close the file, and remove it unless *keep*, or if it cannot be resumed."""
        if not (keep and self.validator) and _is_open_as(self._path, self._file):
            self._remove()
        self._file.close()

    def _remove(self) -> None:
        with suppress(OSError):  # a published file has its other name
            self._path.unlink()


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise `FileError` if a file must not be created at *path*."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise FileError(f"{path} is a symbolic link, which is not followed.", path=path)
    if not stat.S_ISREG(mode):
        raise FileError(f"{path} exists and is not a file.", path=path)
    if not overwrite:
        raise _taken(path)


def sync_folder(folder: Path) -> None:
    """Sync the entries of *folder* to the disk, if its file system can.

    Network folders and FUSE mounts may answer EINVAL or ENOTSUP; that is ignored.
    """
    if sys.platform == "win32":
        return  # folders cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSYNCABLE:
            raise
    finally:
        os.close(descriptor)


def _taken(path: Path) -> TargetExistsError:
    return TargetExistsError(
        f"{path} exists; give another name, a folder, or overwrite=True.", path=path
    )


def _prefix(key: str) -> str:
    return f".replicate-{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:24]}."


def _validator(name: str) -> str:
    mark = name.split(".")[2]
    if not re.fullmatch(r"\w[\w-]*", mark, re.ASCII):
        return ""
    try:
        return urlsafe_b64decode(mark + "=" * (-len(mark) % 4)).decode()
    except ValueError:
        return ""


def _since_boot(moment: float) -> bool:
    """Return whether *moment* is after the system started.

    After a power failure a file may have its length without its bytes.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return clock is not None and moment > time.time() - time.clock_gettime(clock)


def _open_locked(path: Path) -> FileIO | None:
    """Open *path* if it is a regular file of this user that no process has open, else None."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        file = path.open("r+b", buffering=0)
    except OSError:
        return None
    status = os.fstat(file.fileno())
    ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    plain = stat.S_ISREG(status.st_mode) and ours and status.st_nlink == 1
    # A link that took the place of the file meanwhile was followed, and is another file.
    if plain and _try_lock(file) and _is_open_as(path, file):
        return file
    file.close()
    return None


def _is_open_as(path: Path, file: FileIO) -> bool:
    """Return whether *path* is the open *file* itself, and no link to it."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _try_lock(file: FileIO) -> bool | None:
    """Lock a file for this process; False if another has locked it, None without file locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
