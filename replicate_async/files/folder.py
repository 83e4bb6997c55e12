"""A folder in which files appear complete or not at all. All functions here may block."""

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
from pathlib import Path
from typing import Final

from replicate_async.errors import FileError, TargetExistsError
from replicate_async.files.names import numbered

if sys.platform != "win32":
    import fcntl

_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL
_SAFELY: Final = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)
_LINKLESS: Final = frozenset({
    errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL, errno.EACCES
})  # fmt: skip
_UNSYNCABLE: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
_MAX_BUFFERS: Final = 512 if hasattr(os, "writev") else 0
_LONGEST_MARK: Final = 100
_MAX_NAMES: Final = 10_000


class Part:
    """A part file: the beginning of a download.

    Its name holds a hash of the download's key and, with a *validator*, the version of the file.
    That is all that another process needs to resume it.
    """

    def __init__(self, fd: int, name: str, validator: str) -> None:
        self.fd = fd
        self.name = name
        self.validator = validator

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append *pieces*."""
        # One system call where possible: each releases the interpreter lock and waits for it.
        done = os.writev(self.fd, pieces) if 0 < len(pieces) <= _MAX_BUFFERS else 0
        for piece in pieces:
            rest = memoryview(piece)[done:]
            done = max(0, done - len(piece))
            while rest:
                rest = rest[os.write(self.fd, rest) :]

    def seek_end(self) -> int:
        """Go to the end of the file, and return its position."""
        return os.lseek(self.fd, 0, os.SEEK_END)

    def settle(self, size: int) -> None:
        """Sync the file to the disk; raises `FileError` unless it has *size* bytes."""
        os.fsync(self.fd)
        if os.fstat(self.fd).st_size != size:
            raise FileError("Another program has changed the file while it was downloaded.")


class Folder:
    """A folder that files are saved into; *make* makes it if it does not exist."""

    def __init__(self, path: Path, *, make: bool) -> None:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        if not stat.S_ISDIR(path.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        self.path = path

    def check(self, name: str, *, overwrite: bool) -> None:
        """Raise `FileError` if a file called *name* must not be created here."""
        path = self.path / name
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

    def find_part(self, key: str) -> Part | None:
        """Return the part file that an earlier process left of the download *key*, locked.

        Part files that cannot be resumed are removed.
        """
        for name in self._parts(key):
            fd = self._lock(name)
            if fd is None:
                continue
            validator = _validator(name)
            if validator and _since_boot(os.fstat(fd).st_mtime):
                return Part(fd, name, validator)
            os.close(fd)
            self._remove(name)
        return None

    def make_part(self, key: str, validator: str) -> Part:
        """Create the part file for the download *key* of the version *validator*."""
        prefix = _prefix(key)
        mark = urlsafe_b64encode(validator.encode()).decode().rstrip("=")
        if mark and len(mark) <= _LONGEST_MARK:
            try:
                return self._make_part(f"{prefix}{mark}.part", validator)
            except FileExistsError:
                pass  # another download of the same file is running
        return self._make_part(f"{prefix}-{os.urandom(12).hex()}.part", "")

    def drop(self, part: Part, *, keep: bool = False) -> None:
        """Close *part*, and remove it unless *keep*."""
        if not keep and self._is(part.name, part.fd):
            self._discard(part.name)
        os.close(part.fd)

    def publish(self, part: Part, name: str, *, unique: bool, overwrite: bool) -> str:
        """Rename *part* to *name*, or with *unique* to the next free name; returns the name."""
        if not self._is(part.name, part.fd):
            raise FileError("Another program has removed the unfinished file.")
        for number in range(1, _MAX_NAMES):
            wanted = numbered(name, number)
            try:
                self._name(part, wanted, overwrite=overwrite)
            except TargetExistsError:
                if not unique:
                    raise
            else:
                sync_folder(self.path)
                return wanted
        raise FileError(f"{self.path} has too many files named like {name!r}.", path=self.path)

    def _name(self, part: Part, name: str, *, overwrite: bool) -> None:
        if overwrite:
            self.check(name, overwrite=True)
        else:
            try:
                self._link(part.name, name)
            except FileExistsError:
                raise _taken(self.path / name) from None
            except OSError as error:
                if error.errno not in _LINKLESS:
                    raise
                self._claim(name)
            else:
                return self._discard(part.name)
        (self.path / part.name).replace(self.path / name)
        return None

    def _claim(self, name: str) -> None:
        """Create an empty *name*, on file systems without links, to be replaced at once."""
        try:
            os.close(self._create(name))
        except FileExistsError:
            raise _taken(self.path / name) from None

    def _link(self, old: str, new: str) -> None:
        # os.link fails if *new* exists; os.rename would replace it.
        follow = os.link not in os.supports_follow_symlinks
        os.link(self.path / old, self.path / new, follow_symlinks=follow)

    def _make_part(self, name: str, validator: str) -> Part:
        fd = self._create(name)
        _try_lock(fd)
        return Part(fd, name, validator)

    def _create(self, name: str) -> int:
        return os.open(self.path / name, _CREATE | _SAFELY, 0o666)

    def _parts(self, key: str) -> list[str]:
        return [path.name for path in self.path.glob(f"{_prefix(key)}*.part")]

    def _lock(self, name: str) -> int | None:
        """Open *name* if it is a regular file of this user that no process has open, else None."""
        try:
            fd = os.open(self.path / name, os.O_RDWR | _SAFELY)
        except OSError:
            return None
        status = os.fstat(fd)
        ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
        plain = stat.S_ISREG(status.st_mode) and ours and status.st_nlink == 1
        if plain and _try_lock(fd) and self._is(name, fd):
            return fd
        os.close(fd)
        return None

    def _is(self, name: str, fd: int) -> bool:
        """Return whether *name* is the file that *fd* has open."""
        try:
            there = (self.path / name).lstat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(fd))

    def _remove(self, name: str) -> None:
        (self.path / name).unlink()

    def _discard(self, name: str) -> None:
        with suppress(OSError):  # the file is saved under its other name
            self._remove(name)


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


def _try_lock(fd: int) -> bool:
    """Lock a file for this process; False if another has locked it, or without file locks."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
