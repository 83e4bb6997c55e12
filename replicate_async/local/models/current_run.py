"""The current run, for the code of a model."""

from __future__ import annotations

import asyncio
import contextvars
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from replicate_async.local.models.backend import RunLog

_LINE_END = re.compile(r"(\r\n|\r|\n)")


class LineBuffer:
    """Splits terminal output into lines; a carriage return ends one, too."""

    def __init__(self) -> None:
        self._rest = ""
        self._lock = threading.Lock()

    def feed(self, text: str) -> list[str]:
        """Return the lines that *text* completes."""
        with self._lock:
            whole = self._rest + text
            # The newline of a "\r\n" may follow in the next text.
            held = "\r" if whole.endswith("\r") else ""
            pieces = _LINE_END.split(whole.removesuffix("\r"))
            self._rest = pieces.pop() + held
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        # A progress bar starts with a carriage return, which ends no empty line.
        return [line for line, end in pairs if line or end != "\r"]

    def flush(self) -> list[str]:
        """Return the incomplete line."""
        with self._lock:
            rest, self._rest = self._rest.removesuffix("\r"), ""
        return [rest] if rest else []


class CurrentRun:
    """The run that the calling model executes; methods may be called from any thread."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lines = LineBuffer()
        self._ended = False
        self.stopping = False

    @property
    def canceled(self) -> bool:
        """Whether the run is to stop."""
        return self.stopping or self._log.canceled

    def log(self, text: str) -> None:
        """Append a line to the logs, after the line that ``print`` left open.

        Args:
            text: The line; a newline is added if it ends without one.
        """
        self._lines_to_logs([*self._lines.flush(), text])

    def write(self, text: str) -> None:
        """Append text to the logs as soon as its lines are complete.

        Args:
            text: A part of a line, or several lines.
        """
        self._lines_to_logs(self._lines.feed(text))

    def metric(self, name: str, value: float | str) -> None:
        """Set one of the prediction's metrics.

        Args:
            name: The name of the metric, such as "input_token_count".
            value: Its value, which replaces an earlier one.
        """
        self._on_loop(lambda: self._log.metric(name, value))

    def end(self) -> None:
        """Write the incomplete line; later output is dropped."""
        self._lines_to_logs(self._lines.flush())
        self._ended = True

    def _lines_to_logs(self, lines: list[str]) -> None:
        if lines:
            text = "".join(line if line.endswith("\n") else line + "\n" for line in lines)
            self._on_loop(lambda: self._log.log(text))

    def _on_loop(self, call: Callable[[], None]) -> None:
        def unless_ended() -> None:
            if not self._ended:
                call()

        if threading.get_ident() == self._thread:
            unless_ended()
            return
        # The loop may be closed when an abandoned thread returns.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(unless_ended)


CURRENT: contextvars.ContextVar[CurrentRun | None] = contextvars.ContextVar("run", default=None)


def current_run() -> CurrentRun:
    """Return the run that the calling model is executing.

    Raises:
        RuntimeError: No model is running here, or it started this thread without its context.
    """
    run = CURRENT.get()
    if run is None:
        raise RuntimeError("no model is running here; call current_run() inside a model's function")
    return run


def log(*values: object) -> None:
    """Write to the logs of the running model, or to stdout when none is running.

    Args:
        values: What is written, with spaces between, as ``print`` does.
    """
    text = " ".join(str(value) for value in values)
    run = CURRENT.get()
    if run is None:
        sys.stdout.write(text + "\n")
    else:
        run.log(text)
