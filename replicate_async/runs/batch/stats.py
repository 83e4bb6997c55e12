"""The counters of a running batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

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
    planned: int = 0
    running: int = 0
    reconciling: int = 0
    predict_seconds: float = 0.0
    began: float | None = None
    ended: float | None = None
    _recent: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

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
        self.predict_seconds += result.predict_seconds
        now = self.clock()
        if self._recent and now - self._recent[-1][0] < 1:
            last, number = self._recent[-1]
            self._recent[-1] = (last, number + 1)
        else:
            self._recent.append((now, 1))
        while now - self._recent[0][0] > _WINDOW:
            self._recent.popleft()

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

    def progress(self) -> BatchProgress:
        """Return the progress of the batch."""
        rate = self._rate()
        left = None if self.total is None else self.total - self.done
        eta = None
        if left is not None and (rate > 0 or left <= 0):
            eta = left / rate if left > 0 else 0.0
        return BatchProgress(
            total=self.total,
            ok=self.ok,
            failed=self.failed,
            uncertain=self.uncertain,
            resumed=self.resumed,
            running=self.running,
            sought=self.reconciling,
            created=self.created,
            predict_seconds=self.predict_seconds,
            seconds=self.seconds,
            rate=rate,
            eta=eta,
        )

    def _rate(self) -> float:
        if not self._recent or self.began is None:
            return 0.0
        now = self.clock()
        recent = [(at, number) for at, number in self._recent if now - at <= _WINDOW]
        since = min(_WINDOW, max(now - self.began, 1e-3))
        return sum(number for _, number in recent) / since

    def summary(self, *, requests: int, stopped: str | None) -> BatchSummary:
        """Return the summary of the batch so far."""
        fresh = self.done - self.replayed
        return BatchSummary(
            total=self.total,
            ok=self.ok,
            failed=self.failed,
            uncertain=self.uncertain,
            resumed=self.resumed,
            created=self.created,
            retried=self.retried,
            planned=self.planned,
            requests=requests,
            seconds=self.seconds,
            predict_seconds=self.predict_seconds,
            throughput=fresh / self.seconds if self.seconds > 0 else 0.0,
            stopped=stopped,
        )
