"""`print` inside a running model writes to the logs of its own run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from replicate_async.local.models.current_run import CURRENT


class _Output:
    """Replaces stdout or stderr: writes to the logs inside a run, and to the stream outside."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        run = CURRENT.get()
        if run is None:
            return self.stream.write(text)
        run.write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if CURRENT.get() is None:
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


_LOCK = threading.Lock()
_running = 0


@contextmanager
def captured() -> Generator[None]:
    """Send the output of runs to their logs while at least one model is in this context."""
    global _running  # noqa: PLW0603 - stdout is global
    with _LOCK:
        _running += 1
        if _running == 1:
            sys.stdout = cast("TextIO", _Output(sys.stdout))
            sys.stderr = cast("TextIO", _Output(sys.stderr))
    try:
        yield
    finally:
        with _LOCK:
            _running -= 1
            if _running == 0:
                _restore()


def _restore() -> None:
    # Another stream that was set in the meantime stays.
    if isinstance(sys.stdout, _Output):
        sys.stdout = sys.stdout.stream
    if isinstance(sys.stderr, _Output):
        sys.stderr = sys.stderr.stream
