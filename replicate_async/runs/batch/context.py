"""What the parts of a running batch share."""

from __future__ import annotations

from dataclasses import dataclass

from replicate_async.runs.batch.api import BatchApi
from replicate_async.runs.batch.budget import Budget
from replicate_async.runs.batch.journal import Journal
from replicate_async.runs.batch.lost_creates.claims import ClaimStore
from replicate_async.runs.batch.options import BatchOptions
from replicate_async.runs.batch.stats import BatchStats
from replicate_async.runs.batch.stop_signal import StopSignal


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The options of a running batch, its calls, its journal, and its state."""

    options: BatchOptions
    api: BatchApi
    journal: Journal
    claims: ClaimStore
    stop: StopSignal
    stats: BatchStats
    budget: Budget
