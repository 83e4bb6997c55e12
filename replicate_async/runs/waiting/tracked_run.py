"""A run that is waited for, its subscribers, and when the wait of each is over."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from replicate_async.core.listing_plan import ListingPlan
from replicate_async.core.poll_schedule import PolledRun
from replicate_async.errors import Bound
from replicate_async.runs.waiting.run_api import AnyRun, RunApi
from replicate_async.runs.waiting.wait_options import WaitOptions

GRACE: Final = 1.0
"""Seconds that a poll may take which is sent just before the limit."""

_UNANSWERED: Final = 30.0
"""Seconds without an answer that count neither as time in the queue nor as work."""


class Subscription(msgspec.Struct, eq=False):
    """One wait for a run: for its end, or with *wants_updates* for its next change."""

    api: RunApi[Any]
    run_id: str
    known: AnyRun | None
    """The state that the subscriber knows."""
    options: WaitOptions
    wants_updates: bool
    began: float | None = None
    """When it was first awaited."""
    run: TrackedRun | None = None
    """The run, kept between two changes: its pace goes on."""
    woken: asyncio.Future[AnyRun | None] | None = None
    due: float = 0.0
    """When its time limit is to be checked."""
    push_id: int = 0

    @property
    def key(self) -> str:
        """The run's key."""
        return f"{self.api.kind}/{self.run_id}"

    def wake(self, state: AnyRun | None) -> None:
        """End the wait with *state*, or None when it is closed."""
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(state)

    def fail(self, error: BaseException) -> None:
        """End the wait with *error*."""
        if self.woken is not None and not self.woken.done():
            self.woken.set_exception(error)


@dataclass(slots=True, eq=False)
class TrackedRun(PolledRun):
    """A run that is polled once for all its subscribers."""

    api: RunApi[Any]
    run_id: str
    last: AnyRun | None
    plan: ListingPlan[TrackedRun]
    """The listing that may show it."""
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
    grace_until: float | None = None
    """Until when the poll under way may end waits whose time is over."""

    def __post_init__(self) -> None:
        if self.last is not None:
            self.status: str = self.last.status
            self.working_since = None if self.status == "starting" else self.changed_at

    def note_failure(self, message: str, *, is_refusal: bool, now: float) -> None:
        """Note that its poll failed, or a probe during an outage when its poll was due."""
        self.poll_error = message
        if self.failing_since is None:
            self.failing_since = self.polled_at
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

    @property
    def polled_at(self) -> float:
        """When its poll was sent, or is due."""
        return self.due if self.poll_sent_at is None else self.poll_sent_at

    def limit_of(self, subscription: Subscription) -> tuple[float, Bound]:
        """Return when the wait of *subscription* is over, as far as is known, and by which bound.

        *timeout* counts from the first answer that shows the run past "starting", *queue_timeout*
        until then. An outage would stretch that to an hour. So the wait ends by its *timeout*, too,
        when no poll was answered for that time and `_UNANSWERED` seconds: the run may have worked
        for so long.
        """
        began, options = subscription.began or 0.0, subscription.options
        work = math.inf if options.timeout is None else options.timeout
        if self.working_since is not None:
            return max(began, self.working_since) + work, "timeout"
        since = self.polled_at if self.failing_since is None else self.failing_since
        unanswered_until = max(began, since) + work + _UNANSWERED
        queue = math.inf if options.queue_timeout is None else options.queue_timeout
        if unanswered_until < began + queue:
            return unanswered_until, "timeout"
        return began + queue, "queue_timeout"

    def time_left(self, now: float) -> float:
        """Return the seconds in which it must be polled for its end to be seen by all waits."""
        return min(self.limit_of(one)[0] for one in self.subscribers) - GRACE - now
