"""The keyword arguments of the methods that run models, for the signatures of typed models.

`RunMethods` and `Predictions` document them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from os import PathLike
from typing import Generic, TypedDict, TypeVar

from replicate_async.core.poll import Poll
from replicate_async.files.inputs import FileEncoding
from replicate_async.resources._options import Deadline, Wait
from replicate_async.runs.batch.keys import Key, Match
from replicate_async.runs.batch.options import BatchTimeouts, OnError
from replicate_async.runs.batch.results import BatchProgress, BatchResult
from replicate_async.runs.streaming.stream import OnExit
from replicate_async.runs.waiting.wait_options import OnUpdate
from replicate_async.schemas import Prediction, WebhookEvent

T = TypeVar("T")


class _WebhookArguments(TypedDict, total=False):
    """Those that every method shares."""

    webhook: str | None
    webhook_events_filter: Sequence[WebhookEvent] | None
    file_encoding: FileEncoding


class TrainingArguments(_WebhookArguments, total=False):
    """Those of ``trainings.create`` that have a default."""


class CreateArguments(_WebhookArguments, total=False):
    """Those of ``predictions.create``."""

    wait: Wait
    cancel_after: Deadline


class RunArguments(CreateArguments, total=False):
    """Those of ``run``, but for the type of the output."""

    delete_uploads: bool
    retries: int
    timeout: float | None
    queue_timeout: float | None
    poll: Poll | None
    on_update: OnUpdate[Prediction] | None


class StreamArguments(_WebhookArguments, total=False):
    """Those of ``stream``."""

    cancel_after: Deadline
    on_exit: OnExit
    poll: Poll | None


class BatchArguments(_WebhookArguments, Generic[T], total=False):
    """Those of ``batch``, but for the type of the outputs and ``prepare``."""

    concurrency: int | None
    ordered: bool
    journal: str | PathLike[str] | None
    key: Key
    match: Match
    on_error: OnError
    on_exit: OnExit
    retries: int
    retry_failed: bool
    save_files: str | PathLike[str] | None
    max_seconds: float | None
    max_predictions: int | None
    max_cost: float | None
    dry_run: bool
    finish: Callable[[BatchResult[T]], Awaitable[object]] | None
    on_progress: Callable[[BatchProgress], object] | None
    cancel_after: Deadline
    timeout: float | None
    queue_timeout: float | None
    poll: Poll | None
    batch_timeouts: BatchTimeouts | None
