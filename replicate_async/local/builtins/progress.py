"""Progress of a running model, in its logs, in the form that clients look for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from replicate_async.local.models.current_run import log

_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_WIDTH: Final = 10


class Progress:
    """Counts steps and writes a line to the logs at each, as tqdm does in its plain form."""

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done: int = 0
        self._clock = clock
        self._started = clock()
        log(progress_line(0, total, 0.0))

    def advance(self, steps: int = 1) -> None:
        """Count *steps* more, and write the line."""
        self.done += steps
        log(progress_line(self.done, self.total, self._clock() - self._started))


def progress_line(done: int, total: int, seconds: float) -> str:
    """Return the line for *done* of *total* steps after *seconds* of work."""
    share = done / total if total else 1.0
    eighths = int(share * _WIDTH * 8)
    partly = _EIGHTHS[eighths % 8] if eighths % 8 else ""
    bar = ("█" * (eighths // 8) + partly).ljust(_WIDTH)
    rate = done / seconds if done and seconds > 0 else None
    left = _clock_face((total - done) / rate) if rate else "?"
    speed = "?it/s" if rate is None else f"{rate:5.2f}it/s" if rate >= 1 else f"{1 / rate:5.2f}s/it"
    return f"{int(share * 100):3d}%|{bar}| {done}/{total} [{_clock_face(seconds)}<{left}, {speed}]"


def _clock_face(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
