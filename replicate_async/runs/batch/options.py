"""The options of a batch."""

from __future__ import annotations

import builtins
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

from replicate_async.core.numbers import check_seconds
from replicate_async.core.poll import Poll
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import VersionRef
from replicate_async.runs.batch.keys import Key, Match
from replicate_async.runs.batch.results import BatchProgress, BatchResult, ItemInput
from replicate_async.runs.repeats import FIRST_PAUSE
from replicate_async.schemas import WebhookEvent

OnError: TypeAlias = Literal["collect", "raise"]
"""Whether a failed item of a batch is a result with an error, or its error is raised."""

MAX_RUNNING: Final = 1000
"""Predictions at a time unless *concurrency* is given: 100 seconds at the API's 600 a minute."""


@dataclass(frozen=True, slots=True)
class BatchTimeouts:
    """How long a batch waits for things, in seconds.

    Args:
        settle: Until a create that is not in the list is taken never to have happened; 30.
        margin: By how much the clocks of the API's own machines may differ; 60. Yours does not
            matter.
        outage: While the API is out, before a batch is stopped and before an item is called
            uncertain; 600.
        retry: Before the first repeat of a failed prediction; 1. Twice as long before the next.

    Raises:
        ValueError: A value is negative or not finite.
    """

    settle: float = 30.0
    margin: float = 60.0
    outage: float = 600.0
    retry: float = FIRST_PAUSE

    def __post_init__(self) -> None:
        check_seconds(self, "settle", "margin", "outage", "retry")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """The arguments of ``client.batch``, which describes them."""

    ref: VersionRef
    type: builtins.type[Any] | None
    concurrency: int | None
    ordered: bool
    journal: str | os.PathLike[str] | None
    key: Key
    match: Match
    on_error: OnError
    on_exit: Literal["cancel", "continue"]
    retries: int
    retry_failed: bool
    save_files: str | os.PathLike[str] | None
    max_seconds: float | None
    max_predictions: int | None
    max_cost: float | None
    dry_run: bool
    prepare: Callable[[Any], Awaitable[ItemInput]] | None
    finish: Callable[[BatchResult[Any]], Awaitable[object]] | None
    on_progress: Callable[[BatchProgress], object] | None
    cancel_after: int | str | timedelta | None
    webhook: str | None
    webhook_events_filter: Sequence[WebhookEvent] | None
    file_encoding: FileEncoding
    timeout: float | None
    queue_timeout: float | None
    poll: Poll | None
    timeouts: BatchTimeouts

    @property
    def model(self) -> str:
        """The model, with its version if one was given."""
        return str(self.ref)

    @property
    def max_running(self) -> int:
        """The most predictions at a time, and the most calls of *finish* besides."""
        return self.concurrency or MAX_RUNNING
