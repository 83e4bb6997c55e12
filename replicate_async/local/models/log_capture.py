"""Where a running model's words go: `print` inside it writes to the logs of its own run."""

from __future__ import annotations

import contextvars
import re
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO, cast


class Run(Protocol):
    """The run that the calling code is part of; its methods may be called from any thread."""

    def log(self, text: str) -> None:
        """Append *text* to the logs, as lines of their own."""
        ...

    def write(self, text: str) -> None:
        """Append *text* to the logs as a terminal would show it, once its line is complete."""
        ...

    def metric(self, name: str, value: float | str) -> None:
        """Set one of the metrics that the finished prediction shows."""
        ...

    @property
    def canceled(self) -> bool:
        """Whether somebody asked for the run to stop: a loop of blocking work looks here."""
        ...


CURRENT: contextvars.ContextVar[Run | None] = contextvars.ContextVar("run", default=None)


def current_run() -> Run:
    """Return the run that the calling model is executing.

    Raises `RuntimeError` outside of one, and in threads that the model started by itself without
    its context.
    """
    run = CURRENT.get()
    if run is None:
        raise RuntimeError("no model is running here; call current_run() inside a model's function")
    return run


def log(*values: object) -> None:
    """Write *values* to the logs of the running model, or to stdout when none is running."""
    text = " ".join(str(value) for value in values)
    run = CURRENT.get()
    if run is None:
        sys.stdout.write(text + "\n")
    else:
        run.log(text)


_LINE_END = re.compile(r"(\r\n|\r|\n)")


class LineBuffer:
    """Turns what is written to a terminal into lines: a carriage return ends one too."""

    def __init__(self) -> None:
        self._rest = ""
        self._lock = threading.Lock()

    def feed(self, text: str) -> list[str]:
        """Return the lines that *text* completes."""
        with self._lock:
            whole = self._rest + text
            # The newline of a "\r\n" may still be on its way.
            held = "\r" if whole.endswith("\r") else ""
            pieces = _LINE_END.split(whole.removesuffix("\r"))
            self._rest = pieces.pop() + held
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        # A progress bar opens with a carriage return: there is no empty line before it.
        return [line for line, end in pairs if line or end != "\r"]

    def flush(self) -> list[str]:
        """Return the line that nobody completed."""
        with self._lock:
            rest, self._rest = self._rest.removesuffix("\r"), ""
        return [rest] if rest else []


class _Output:
    """Stands in for stdout or stderr: writes to the run's logs inside one, else passes on."""

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
    """Send what runs print to their logs, for as long as any model is in here."""
    global _running  # noqa: PLW0603 - stdout is the process's own
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
    # Somebody else may have put a stream of their own in the place since; that one stays.
    if isinstance(sys.stdout, _Output):
        sys.stdout = sys.stdout.stream
    if isinstance(sys.stderr, _Output):
        sys.stderr = sys.stderr.stream
