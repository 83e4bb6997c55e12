"""A run that is waited for, and its subscribers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from replicate_async.core.poll import Poll
from replicate_async.core.poll_schedule import PolledRun, Scheduled
from replicate_async.runs.waiting.run_api import AnyRun, RunApi, check_timeout, given_poll


@dataclass(slots=True, eq=False)
class Subscription(Scheduled):
    """One wait for a run: for its end, or with *wants_updates* for its next change.

    It is due when its time limit may be over.
    """

    api: RunApi[Any]
    run_id: str
    known: AnyRun | None
    """The state that the subscriber knows."""
    timeout: float | None
    queue_timeout: float | None
    poll: Poll | None
    wants_updates: bool
    began: float | None = None
    run: TrackedRun | None = None
    woken: asyncio.Future[None] | None = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        check_timeout(self.timeout)
        check_timeout(self.queue_timeout, "queue_timeout")
        given_poll(self.poll)

    @property
    def key(self) -> str:
        """The run's key."""
        return f"{self.api.kind}/{self.run_id}"

    def wake(self) -> None:
        """End the wait."""
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)


@dataclass(slots=True, eq=False)
class TrackedRun(PolledRun):
    """A run that is polled once for all its subscribers."""

    api: RunApi[Any]
    run_id: str
    last: AnyRun | None
    subscribers: list[Subscription] = field(default_factory=list[Subscription])
    seen: bool = False
    """Whether a poll found it."""
    polled_by: asyncio.Task[Any] | None = None
    failures: int = 0
    """Its polls that failed in a row."""
    failing_since: float | None = None
    """Since when no poll was answered."""
    refused_since: float | None = None
    """Since when all polls were refused."""
    poll_error: str = ""
    """What the last poll failed with."""
    working_since: float | None = None
    """When the run was first seen past "starting"."""
    expired: bool = False
    """Whether a subscriber's time is over and only the poll in flight may end its wait."""

    def __post_init__(self) -> None:
        if self.last is not None:
            self.status: str = self.last.status
            self.working_since = None if self.status == "starting" else self.changed_at

    def note_failure(self, message: str, *, is_refusal: bool, now: float) -> None:
        """Note that its poll failed, or a probe during an outage when its poll was due."""
        self.poll_error = message
        if self.failing_since is None:
            self.failing_since = self.due if self.poll_sent_at is None else self.poll_sent_at
        if not is_refusal:
            self.refused_since = None
        elif self.refused_since is None:
            self.refused_since = now

    def clear_failures(self) -> None:
        """Forget the polls that failed, after one that was answered."""
        self.failures = 0
        self.failing_since = self.refused_since = None
        self.poll_error = ""

    def last_seen(self) -> AnyRun | None:
        """Return the last state, with the status that a page may have shown since."""
        last = self.last
        if last is None or last.status == self.status:
            return last
        return msgspec.structs.replace(last, status=self.api.redact(self.status))
