"""A temporary folder, made when the first file needs it."""

from __future__ import annotations

import itertools
import tempfile
import threading
from pathlib import Path


class TempFolder:
    """A folder that is made for its first file; `close` removes it with all files."""

    def __init__(self) -> None:
        self._made: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._files = itertools.count(1)

    def place(self) -> Path:
        """Return the path of a new file; callable from any thread."""
        with self._lock:
            if self._closed:
                raise OSError("the folder for files was removed")
            if self._made is None:
                self._made = tempfile.TemporaryDirectory(
                    prefix="replicate-async-", ignore_cleanup_errors=True
                )
            return Path(self._made.name, str(next(self._files)))

    def close(self) -> None:
        """Remove the folder; later calls of `place` raise `OSError`."""
        with self._lock:
            self._closed = True
            made, self._made = self._made, None
        if made is not None:
            made.cleanup()
