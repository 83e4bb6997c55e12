"""What the parts of a running batch share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from replicate_async.runs.batch.api import BatchApi
from replicate_async.runs.batch.budget import Budget
from replicate_async.runs.batch.journal import Journal
from replicate_async.runs.batch.lost_creates.claims import ClaimStore
from replicate_async.runs.batch.options import BatchOptions
from replicate_async.runs.batch.stats import BatchStats


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The options of a running batch, its calls, its journal, and its state."""

    options: BatchOptions
    api: BatchApi
    journal: Journal
    claims: ClaimStore
    stats: BatchStats
    budget: Budget
    stop: Callable[[str], object]
    """Start no new items and send no more creates, for a reason."""
