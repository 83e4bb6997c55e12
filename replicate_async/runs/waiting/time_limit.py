"""When a wait has taken too long: *queue_timeout* for the time in the queue, *timeout* for work."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from replicate_async.errors import Bound, WaitTimeout
from replicate_async.runs.waiting.run_api import timed_out
from replicate_async.runs.waiting.tracked_run import Subscription, TrackedRun

GRACE: Final = 1.0
"""Seconds that a poll may take which is sent just before the limit."""

_UNANSWERED: Final = 30.0
"""Seconds without an answer that count neither as time in the queue nor as work."""


class TimeLimit(NamedTuple):
    """When a wait is over, as far as is known yet, and the argument that says so."""

    at: float
    bound: Bound


def time_limit(subscription: Subscription, run: TrackedRun) -> TimeLimit:
    """Return the limit of *subscription*, which moves as the run is polled.

    *timeout* counts from the first answer that shows the run past "starting", *queue_timeout* until
    then. An outage would stretch that to an hour. So the wait ends by its *timeout*, too, when no
    poll was answered for that time and `_UNANSWERED` seconds: the run may have worked for so long.
    """
    began = subscription.began or 0.0
    work = math.inf if subscription.timeout is None else subscription.timeout
    if run.working_since is not None:
        return TimeLimit(max(began, run.working_since) + work, "timeout")
    unanswered_since = run.failing_since
    if unanswered_since is None:
        unanswered_since = run.due if run.poll_sent_at is None else run.poll_sent_at
    unanswered_until = max(began, unanswered_since) + work + _UNANSWERED
    queue = math.inf if subscription.queue_timeout is None else subscription.queue_timeout
    if unanswered_until < began + queue:
        return TimeLimit(unanswered_until, "timeout")
    return TimeLimit(began + queue, "queue_timeout")


def time_left(run: TrackedRun, now: float) -> float:
    """Return the seconds in which *run* must be polled for its end to be seen by all waits."""
    return min(time_limit(one, run).at for one in run.subscribers) - GRACE - now


def timeout_error(subscription: Subscription, run: TrackedRun, bound: Bound) -> WaitTimeout:
    """Return the error of a wait that is over by *bound*."""
    seconds = subscription.timeout if bound == "timeout" else subscription.queue_timeout
    error = WaitTimeout(
        "", last=run.last_seen(), bound=bound, seconds=seconds or 0.0, poll_error=run.poll_error
    )
    error.args = (timed_out(run.run_id, error, "goes on"),)
    return error
