"""Save a file and write a journal on a file system that lacks something; made to run by itself.

    python -m tests.files.odd_disk FOLDER CALL ERROR

With "fsync" every sync of a folder fails with ERROR, as on some shared and FUSE mounts; with
"unlink" every removal of a part file; with "link" every hard link. Prints what came of the file and
of the journal, a line each.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

from replicate_async import FileError
from replicate_async.errors import JournalError
from tests.files.hosts import names_in
from tests.files.saved import here
from tests.runs.batch.journal_program import write

sync, remove = os.fsync, os.unlink


async def main(folder: Path) -> None:
    try:
        path = await here(b"picture").save(folder / "picture.png")
        print(path.read_bytes().decode(), names_in(folder)[-1])
    except FileError as error:
        print(f"{type(error).__name__}: {error}")
    try:
        await write(folder / "journal.db", 3, lambda _: None)
        print("written")
    except (JournalError, OSError) as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    where, call, name = sys.argv[1:]
    fault = OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    def fsync(fd: Any) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise fault
        sync(fd)

    def unlink(path: Any, *, dir_fd: int | None = None) -> None:
        if str(path).endswith(".part"):
            raise fault
        remove(path, dir_fd=dir_fd)

    def link(*_: Any, **__: Any) -> None:
        raise fault

    setattr(os, call, {"fsync": fsync, "unlink": unlink, "link": link}[call])
    asyncio.run(main(Path(where)))
