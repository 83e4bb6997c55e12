"""One wait, and one run that is waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from replicate_async.core.poll import Poll
from replicate_async.core.schedule import Item
from replicate_async.core.wheel import Timed
from replicate_async.runs.wait import AnyRun, Source


class Ticket(Timed):
    """One wait for one run: what its owner knows, and the future that its owner awaits.

    With *changes* it is over at every change of the run, and else at its end. It is used again for
    the next change. It is due when its owner has waited long enough.
    """

    __slots__ = (
        "began",
        "called",
        "changes",
        "error",
        "future",
        "interrupted",
        "key",
        "known",
        "poll",
        "queue_timeout",
        "run_id",
        "source",
        "task",
        "timeout",
        "watched",
    )

    def __init__(
        self,
        source: Source[Any],
        run_id: str,
        *,
        last: AnyRun | None,
        timeout: float | None,
        queue_timeout: float | None,
        poll: Poll | None,
        changes: bool,
    ) -> None:
        super().__init__()
        self.source: Source[Any] = source
        self.run_id: str = run_id
        self.key: str = f"{source.kind}/{run_id}"
        self.known: AnyRun | None = last
        self.timeout: float | None = timeout
        """Seconds of work, from the first answer that shows the run past "starting"."""
        self.queue_timeout: float | None = queue_timeout
        """Seconds before that."""
        self.poll: Poll | None = poll
        self.changes: bool = changes
        self.error: BaseException | None = None
        self.began: float | None = None
        self.future: asyncio.Future[None] | None = None
        self.called: bool = False
        """Whether its owner is to ask for the run."""
        self.task: asyncio.Task[Any] | None = None
        """The owner's, while it asks."""
        self.interrupted: bool = False
        """Whether that was cancelled to make an end of asking."""
        self.watched: Watched | None = None

    @property
    def bounded(self) -> bool:
        """Whether its time is ever up."""
        return self.timeout is not None or self.queue_timeout is not None


class Watched(Item):
    """A run that is waited for, once for all who do."""

    __slots__ = (
        "asked_at",
        "asker",
        "began",
        "failing_since",
        "failures",
        "last",
        "late",
        "poll_error",
        "refused_since",
        "run_id",
        "seen",
        "source",
        "tickets",
        "working_since",
    )

    def __init__(self, ticket: Ticket, now: float) -> None:
        super().__init__(ticket.key, now)
        self.source: Source[Any] = ticket.source
        self.run_id: str = ticket.run_id
        self.last: AnyRun | None = ticket.known
        self.began: float = now
        self.seen: bool = False
        """Whether it was there when it was asked for."""
        self.tickets: list[Ticket] = []
        self.late: bool = False
        """Whether a time has run out, and what is being asked is awaited still."""
        self.asker: asyncio.Task[Any] | None = None
        """Who asks for it at the moment, since *asked_at*."""
        self.asked_at: float = now
        self.failures: int = 0
        """Polls that failed since the last one that was answered."""
        self.failing_since: float | None = None
        """When the first of them was sent."""
        self.refused_since: float | None = None
        """Since when every one of them has been refused."""
        self.poll_error: str = ""
        """What the last of them failed with."""
        self.working_since: float | None = None
        """When an answer first showed it past "starting"."""
        if ticket.known is not None:
            self.status: str = ticket.known.status
            if self.status != "starting":
                self.working_since = now

    def answered(self) -> None:
        """Forget the polls that failed."""
        self.failures = 0
        self.failing_since = self.refused_since = None
        self.poll_error = ""

    def as_last_seen(self) -> AnyRun | None:
        """Return the state seen last, of which a page may have shown no more than the status."""
        last = self.last
        if last is None or last.status == self.status:
            return last
        return msgspec.structs.replace(last, status=self.status)
