"""The results, the progress and the summary of a batch."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.core.usage import ModelUsage, usage_of
from replicate_async.errors import AmbiguousCreateError, ReplicateError
from replicate_async.files.values import Record
from replicate_async.schemas import Prediction

T = TypeVar("T")

ItemInput: TypeAlias = Record
"""One input of a batch, which is that of ``predictions.create``."""


class BatchResult(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """How one item of a batch ended: with an output, or with an error."""

    key: str
    """The name of the item in the journal and in the names of its files."""
    index: int
    """Its place in the inputs, from 0."""
    input: ItemInput
    """As it was given."""
    prediction: Prediction | None = None
    """The prediction as it ended; None when there is none, or it is not known."""
    output: T | None = None
    """The output of the model, decoded when the batch has a *type*; None beside an error."""
    is_text: bool = False
    """Whether the model's schema says that a list in *output* is one text in chunks. False where no
    schema was looked up, as for official models; ``type=str`` gives the text of those."""
    error: ReplicateError | None = None
    attempts: int = 0
    """The predictions that were started for it; more than 1 only with *retries*."""
    created_at: datetime | None = None
    """When its last prediction was started."""
    finished_at: datetime | None = None
    """When it ended, by the API's clock if it said so."""
    resumed: bool = False
    """Whether an earlier run of the batch had started it already."""
    files: tuple[Path, ...] = ()
    """Where its output files were saved, with *save_files*."""
    value: object = None
    """What *finish* returned. From the journal it comes if it is plain JSON; else it is None."""

    def __repr__(self) -> str:
        state = "ok" if self.error is None else type(self.error).__name__
        return f"<BatchResult {self.index} {shorten(self.key)} {state}>"

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return self.error is None

    @property
    def uncertain(self) -> bool:
        """Whether a prediction may or may not have been created."""
        return isinstance(self.error, AmbiguousCreateError)

    def unwrap(self) -> T:
        """Return the output, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.output  # type: ignore[return-value]  # pyright: ignore[reportReturnType] - an output may be None, and then T has it

    @property
    def predict_seconds(self) -> float:
        """The seconds that the model ran for the prediction; they are billed."""
        metrics = None if self.prediction is None else self.prediction.metrics
        return usage_of(metrics or {}).predict_seconds


class _Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The counts that progress and summary share."""

    total: int | None
    """The number of inputs, when they have a length."""
    ok: int
    failed: int
    """Items with an error, without the uncertain ones."""
    uncertain: int
    resumed: int
    """Items among all these that an earlier run had started."""
    created: int
    """Predictions that this run has started."""
    seconds: float
    """Since the batch began, until it ended."""
    predict_seconds: float
    """Seconds that the models ran, by *usage*."""
    usage: ModelUsage
    """What the predictions used that ended in this run, failed and repeated ones too, without the
    results that come from the journal. Its ``cost`` is None where the model has no price."""

    @property
    def cost(self) -> float | None:
        """What these predictions cost, by the ``prices`` of the client; None without a price."""
        return self.usage.cost

    @property
    def done(self) -> int:
        """Items that have ended."""
        return self.ok + self.failed + self.uncertain


class BatchProgress(_Counts, frozen=True, kw_only=True):
    """The progress of a batch; the argument of *on_progress*."""

    running: int
    """Items that were begun and have not ended, without those that wait for *max_cost* or
    *max_predictions*."""
    reconciling: int = 0
    """Items among these whose create broke off, and which are looked for in the list of
    predictions."""
    rate: float
    """Items that ended per second, over the last half minute, without those replayed."""
    eta: float | None
    """Seconds until the end at this rate; None when it is not known."""


class BatchSummary(_Counts, frozen=True, kw_only=True):
    """The counts of a batch; ``batch.summary``, at any time."""

    retried: int
    """Predictions among these that repeated a failed one."""
    finished: int
    """Items whose *finish* has returned, in this run or an earlier one."""
    planned: int
    """In a dry run: items that would be created."""
    requests: int
    """Requests that the client sent meanwhile."""
    throughput: float
    """Items that ended per second, without those replayed."""
    stopped: str | None
    """Why it ended before its inputs did: "stop", "max_seconds", "max_predictions", "max_cost",
    "left" or "error"; None when it came to their end."""

    def __str__(self) -> str:
        parts = [f"{self.ok:,} ok"]
        for name in ("failed", "uncertain", "resumed", "finished", "planned"):
            count: int = getattr(self, name)
            if count:
                parts.append(f"{count:,} {name}")
        return (
            f"{', '.join(parts)} in {self.seconds:.1f} s ({self.throughput:.1f} items/s, "
            f"{self.usage})"
        )
