"""When a wait has taken too long: one bound for the queue, and one for the work."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final, NamedTuple

from replicate_async.alarm import Alarm
from replicate_async.core.poll_backoff import PollBackoff
from replicate_async.core.wheel import Wheel
from replicate_async.errors import Bound, WaitTimeout
from replicate_async.runs.ticket import Ticket, Watched
from replicate_async.runs.wait import timed_out

_SHORTEST_LOOK: Final = 1.0
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
        unknown = run.asked_at + max(work, _SHORTEST_LOOK)
    else:
        unknown = max(run.due if run.due < math.inf else now, now) + max(work, _SHORTEST_LOOK)
    return End(unknown, "timeout") if unknown < queue else End(queue, "queue_timeout")


class Deadlines:
    """The ends of all waits of a loop, which *give_up* is called for."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        backoff: PollBackoff,
        give_up: Callable[[Ticket], None],
    ) -> None:
        self._loop = loop
        self._backoff = backoff
        self._give_up = give_up
        self._wheel: Wheel[Ticket] = Wheel()
        self._alarm = Alarm(loop, self._ring)

    def watch(self, ticket: Ticket, run: Watched, now: float) -> None:
        """See to it that *ticket*, which waits for *run*, is looked at when its time may be up."""
        timeout, queue_timeout = ticket.timeout, ticket.queue_timeout
        shortest = timeout
        if timeout is None or (queue_timeout is not None and queue_timeout < timeout):
            shortest = queue_timeout
        if shortest is None or shortest == math.inf:
            return
        if ticket.began == now:
            at = now + shortest  # too soon, perhaps; then the end is looked for again
            self._wheel.put(ticket, at)
            self._alarm.set(at)
        else:
            self._put(ticket, end_of(ticket, run, now, self._backoff.closed_at).at)

    def drop(self, ticket: Ticket) -> None:
        """Forget *ticket*."""
        self._wheel.drop(ticket)

    def cancel(self) -> None:
        """Ring no more."""
        self._alarm.cancel()

    def at_work(self, run: Watched, now: float) -> None:
        """Note that *run* was first seen past "starting": from now on its time counts."""
        run.working_since = now
        for ticket in run.tickets:
            # Where it is looked at before, the end is looked for again then.
            if ticket.timeout is not None and now + ticket.timeout < ticket.due:
                self._put(ticket, now + ticket.timeout)

    def look_again(self, run: Watched, now: float) -> None:
        """Give up on those whose time was up while the poll of *run* was awaited."""
        run.late = False
        for ticket in tuple(run.tickets):
            if ticket.bounded:
                self._expire(ticket, now)

    def _put(self, ticket: Ticket, at: float) -> None:
        if at < math.inf:
            self._wheel.put(ticket, at)
            self._alarm.set(at)
        else:
            self._wheel.drop(ticket)

    def _ring(self, now: float) -> None:
        for ticket in self._wheel.take(now):
            self._expire(ticket, now)
        due = self._wheel.next_at()
        if due is not None:
            self._alarm.set(due)

    def _expire(self, ticket: Ticket, now: float) -> None:
        """Give up if its time is up, unless a look has just begun that may bring the end."""
        run = ticket.watched
        assert run is not None  # noqa: S101 - it was joined
        at, bound = end_of(ticket, run, now, self._backoff.closed_at)
        until = now
        if run.asker is not None:
            until = run.asked_at + _SHORTEST_LOOK
        elif not run.attempt and not run.failures and run.last is None and ticket.began is not None:
            until = ticket.began + _SHORTEST_LOOK
        if at > now or until > now:
            run.late = run.late or at <= now
            self._put(ticket, max(at, until))
            return
        seconds = ticket.timeout if bound == "timeout" else ticket.queue_timeout
        error = WaitTimeout(
            "",
            last=run.as_last_seen(),
            bound=bound,
            seconds=seconds or 0.0,
            poll_error=run.poll_error,
        )
        error.args = (timed_out(run.run_id, error, "goes on"),)
        ticket.error = error
        self._give_up(ticket)
