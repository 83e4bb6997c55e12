"""A run that is waited for, and its subscribers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from replicate_async.core.poll import Poll
from replicate_async.core.poll_schedule import PolledRun, Scheduled
from replicate_async.runs.waiting.run_api import AnyRun, RunApi


class Subscription(Scheduled):
    """One wait for a run: for its end, or with *wants_updates* for its next change.

    It is due when its time limit may be over.
    """

    __slots__ = (
        "api",
        "began",
        "error",
        "key",
        "known",
        "poll",
        "queue_timeout",
        "run",
        "run_id",
        "timeout",
        "wants_updates",
        "woken",
    )

    def __init__(
        self,
        api: RunApi[Any],
        run_id: str,
        *,
        last: AnyRun | None,
        timeout: float | None,
        queue_timeout: float | None,
        poll: Poll | None,
        wants_updates: bool,
    ) -> None:
        super().__init__()
        self.api: RunApi[Any] = api
        self.run_id: str = run_id
        self.key: str = f"{api.kind}/{run_id}"
        self.known: AnyRun | None = last
        """The state that the subscriber knows."""
        self.timeout: float | None = timeout
        self.queue_timeout: float | None = queue_timeout
        self.poll: Poll | None = poll
        self.wants_updates: bool = wants_updates
        self.began: float | None = None
        self.run: TrackedRun | None = None
        self.woken: asyncio.Future[None] | None = None
        self.error: BaseException | None = None

    def wake(self) -> None:
        """End the wait."""
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)


class TrackedRun(PolledRun):
    """A run that is polled once for all its subscribers."""

    __slots__ = (
        "api",
        "expired",
        "failing_since",
        "failures",
        "last",
        "poll_error",
        "poll_sent_at",
        "polled_by",
        "refused_since",
        "run_id",
        "seen",
        "subscribers",
        "tracked_since",
        "working_since",
    )

    def __init__(self, subscription: Subscription, now: float) -> None:
        super().__init__(subscription.key, now)
        self.api: RunApi[Any] = subscription.api
        self.run_id: str = subscription.run_id
        self.last: AnyRun | None = subscription.known
        self.subscribers: list[Subscription] = []
        self.tracked_since: float = now
        self.seen: bool = False
        """Whether a poll found it."""
        self.polled_by: asyncio.Task[Any] | None = None
        self.poll_sent_at: float = now
        self.failures: int = 0
        """Polls that failed since the last one that was answered."""
        self.failing_since: float | None = None
        """When the first of them was sent."""
        self.refused_since: float | None = None
        """Since when all of them were refused."""
        self.poll_error: str = ""
        """What the last of them failed with."""
        self.working_since: float | None = None
        """When the run was first seen past "starting"."""
        self.expired: bool = False
        """Whether a subscriber's time is over and only the poll in flight may end its wait."""
        if self.last is not None:
            self.status = self.last.status
            if self.status != "starting":
                self.working_since = now

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
        return msgspec.structs.replace(last, status=self.status)
