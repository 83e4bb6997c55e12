"""The counters of a running batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from replicate_async.core.usage import ModelUsage
from replicate_async.runs.batch.results import BatchProgress, BatchResult, BatchSummary

_WINDOW: Final = 30.0
"""Seconds that the rate is taken over."""


@dataclass
class BatchStats:
    """Counters, and the rates that follow from them; *clock* is monotonic."""

    clock: Callable[[], float]
    total: int | None = None
    ok: int = 0
    failed: int = 0
    uncertain: int = 0
    resumed: int = 0
    replayed: int = 0
    created: int = 0
    retried: int = 0
    finished: int = 0
    planned: int = 0
    running: int = 0
    reconciling: int = 0
    usage: ModelUsage = field(default_factory=ModelUsage)
    began: float | None = None
    ended: float | None = None
    requests: int = 0
    stopped: str | None = None
    """Why no new items start; the first reason counts."""
    leaves_running: bool = False
    """Whether predictions run on when their items are cancelled."""
    _recent: dict[int, int] = field(default_factory=dict[int, int])
    """How many items ended in each second, of the last in which any did."""

    def count(self, result: BatchResult[Any], *, replayed: bool) -> None:
        """Count the *result* of an item; *replayed* is one that the journal had."""
        if result.ok:
            self.ok += 1
        elif result.uncertain:
            self.uncertain += 1
        else:
            self.failed += 1
        self.resumed += result.resumed
        if replayed:
            self.replayed += 1
            return
        second = int(self.clock())
        self._recent[second] = self._recent.get(second, 0) + 1
        if len(self._recent) > _WINDOW:
            del self._recent[next(iter(self._recent))]

    @property
    def predict_seconds(self) -> float:
        """Seconds that the models ran."""
        return self.usage.predict_seconds

    @property
    def done(self) -> int:
        """Items that have ended."""
        return self.ok + self.failed + self.uncertain

    @property
    def seconds(self) -> float:
        """Seconds since the batch began, until it ended."""
        if self.began is None:
            return 0.0
        return (self.clock() if self.ended is None else self.ended) - self.began

    @property
    def rate(self) -> float:
        """Items that ended in a second, over the last half minute."""
        if not self._recent or self.began is None:
            return 0.0
        now = self.clock()
        recent = sum(number for at, number in self._recent.items() if now - at <= _WINDOW)
        return recent / min(_WINDOW, max(now - self.began, 1e-3))

    @property
    def eta(self) -> float | None:
        """Seconds until the end at this rate, None if that is not known."""
        left = None if self.total is None else self.total - self.done
        if left is None or left <= 0:
            return None if left is None else 0.0
        rate = self.rate
        return left / rate if rate > 0 else None

    def progress(self) -> BatchProgress:
        """Return the progress of the batch."""
        return msgspec.convert(self, BatchProgress, from_attributes=True)

    def summary(self) -> BatchSummary:
        """Return the summary of the batch so far."""
        return msgspec.convert(self, BatchSummary, from_attributes=True)

    @property
    def throughput(self) -> float:
        """Items that ended in a second, without those replayed."""
        return (self.done - self.replayed) / self.seconds if self.seconds > 0 else 0.0
