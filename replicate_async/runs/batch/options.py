"""The options of a batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from replicate_async.runs.batch.keys import Key, Match
from replicate_async.runs.batch.results import BatchProgress, BatchResult, ItemInput

OnError: TypeAlias = Literal["collect", "raise"]

MAX_RUNNING: Final = 1000
"""Predictions at a time unless *concurrency* is given: 100 seconds at the API's 600 a minute."""


@dataclass(frozen=True, slots=True)
class BatchTimeouts:
    """How long things are waited for, in seconds."""

    settle: float = 30.0
    """Until a create that is not in the list is taken never to have happened."""
    margin: float = 60.0
    """By how much the clocks of the API's own machines may differ. Yours does not matter."""
    outage: float = 600.0
    """While the API is out: before a batch is stopped, before an item is called uncertain."""
    retry: float = 1.0
    """Before the first repeat of a failed prediction; twice as long before the next."""


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """The checked arguments of ``client.batch``."""

    model: str
    version: str | None
    concurrency: int | None
    ordered: bool
    journal: str | None
    key: Key
    digest: str
    """A digest of the other options that change a create."""
    sdk: str
    on_error: OnError
    on_exit: Literal["cancel", "continue"]
    retries: int
    retry_failed: bool
    save_files: Path | None
    max_seconds: float | None
    max_predictions: int | None
    dry_run: bool
    on_progress: Callable[[BatchProgress], object] | None
    timeouts: BatchTimeouts
    match: Match = "input"
    """Whether an input is known by its key and its values, or by its key alone."""
    prepare: Callable[[Any], Awaitable[ItemInput]] | None = None
    finish: Callable[[BatchResult[Any]], Awaitable[object]] | None = None

    @property
    def max_running(self) -> int:
        """The most predictions at a time, and the most calls of *finish* besides."""
        return self.concurrency or MAX_RUNNING
