"""When a wait has taken too long: *queue_timeout* for the time in the queue, *timeout* for work."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from replicate_async.errors import Bound, WaitTimeout
from replicate_async.runs.waiting.run_api import timed_out
from replicate_async.runs.waiting.tracked_run import Subscription, TrackedRun

GRACE: Final = 1.0
"""Seconds that a poll may take which is sent just before the limit."""


class TimeLimit(NamedTuple):
    """When a wait is over, as far as is known yet, and the argument that says so."""

    at: float
    bound: Bound


def time_limit(subscription: Subscription, run: TrackedRun) -> TimeLimit:
    """Return the limit of *subscription*, which moves as the run is polled.

    *timeout* counts from the first answer that shows the run past "starting". The run may have
    got there while a poll is not answered, so the time since that poll counts as well.
    """
    began = subscription.began or 0.0
    work = math.inf if subscription.timeout is None else subscription.timeout
    if run.working_since is not None:
        return TimeLimit(max(began, run.working_since) + work, "timeout")
    if run.failing_since is not None:
        unanswered_at = max(began, run.failing_since) + work
    else:
        unanswered = run.poll_sent_at if run.polling else run.due
        unanswered_at = max(began, unanswered) + max(work, GRACE)
    queue = math.inf if subscription.queue_timeout is None else subscription.queue_timeout
    if unanswered_at < began + queue:
        return TimeLimit(unanswered_at, "timeout")
    return TimeLimit(began + queue, "queue_timeout")


def timeout_error(subscription: Subscription, run: TrackedRun, bound: Bound) -> WaitTimeout:
    """Return the error of a wait that is over by *bound*."""
    seconds = subscription.timeout if bound == "timeout" else subscription.queue_timeout
    error = WaitTimeout(
        "", last=run.last_seen(), bound=bound, seconds=seconds or 0.0, poll_error=run.poll_error
    )
    error.args = (timed_out(run.run_id, error, "goes on"),)
    return error
