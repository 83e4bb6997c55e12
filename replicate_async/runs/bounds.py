"""When a wait has taken too long: one bound for the queue, and one for the work."""

from __future__ import annotations

import math
from typing import NamedTuple

from replicate_async.errors import Bound
from replicate_async.runs.ticket import Ticket, Watched

SHORTEST_LOOK = 1.0
"""Seconds that a poll may take which begins just before the end of the waiting."""


class End(NamedTuple):
    """When a wait is over by one of its bounds, as far as can be told yet."""

    at: float
    bound: Bound


def end_of(ticket: Ticket, run: Watched, now: float, held_since: float | None) -> End:
    """Return when *ticket* has waited for long enough; ask again then, for the run may change.

    The timeout runs from the first answer that shows the run past "starting". Before that, time
    in which polls fail counts as well, because the run may be at work; *held_since* says since when
    they are held back.
    """
    began = ticket.began or 0.0
    work = math.inf if ticket.timeout is None else ticket.timeout
    if run.working_since is not None:
        return End(max(began, run.working_since) + work, "timeout")
    queue = math.inf if ticket.queue_timeout is None else began + ticket.queue_timeout
    if run.failing_since is not None:
        unknown = max(began, run.failing_since) + work
    elif held_since is not None:
        unknown = max(began, held_since) + work
    elif run.asker is not None:
        unknown = run.asked_at + max(work, SHORTEST_LOOK)
    else:
        unknown = max(run.due if run.due < math.inf else now, now) + max(work, SHORTEST_LOOK)
    return End(unknown, "timeout") if unknown < queue else End(queue, "queue_timeout")
