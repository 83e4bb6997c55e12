"""Ctrl-C and SIGTERM while a command runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Final

_SHOW_CURSOR: Final = "\x1b[?25h"


class StopSignals:
    """The signals of a command: the first stops it, the second ends the process at once."""

    def __init__(self) -> None:
        self.code: int = 0
        """The exit code for the signal that was received; 0 before the first."""
        self._stop: Callable[[], object] = int
        self._last_words: Callable[[], str] = str
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def received(self, stop: Callable[[], object]) -> Generator[None]:
        """Receive the signals of the process in the block; the first calls *stop*."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            with self.stopping(stop):
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def stopping(
        self, stop: Callable[[], object], last_words: Callable[[], str] = str
    ) -> Generator[None]:
        """Call *stop* at the first signal in the block; the second prints *last_words*."""
        before = self._stop, self._last_words
        self._stop, self._last_words = stop, last_words
        try:
            yield
        finally:
            self._stop, self._last_words = before

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.code:
            shown = _SHOW_CURSOR if sys.stderr.isatty() else ""
            with suppress(OSError):  # the reader of stderr has gone
                os.write(2, f"{shown}{self._last_words()}".encode(errors="replace"))
            os._exit(128 + number)
        self.code = 128 + number
        self._loop.call_soon_threadsafe(self._stop)


SIGNALS: Final[ContextVar[StopSignals]] = ContextVar("SIGNALS")
"""The signals of the running command."""
