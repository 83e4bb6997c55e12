"""One schedule for all waits of a client.

A wait is a future, and a run that is waited for an entry in a wheel. One timer wakes the schedule
when something is due. Who waits alone is then called to ask for the run in the task that waits
anyway; where several wait for a run, or very many for theirs, a few tasks ask, for one run or one
page of the listing at a time, and end when nothing is left to ask for. So ten thousand waits cost
one timer and no task while nothing is due, and nothing is left when the last wait has ended.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Final, Generic, TypeVar, cast

from replicate_async.core.durations import Durations
from replicate_async.core.limits import Limits
from replicate_async.core.poll import Poll
from replicate_async.runs.board import Board
from replicate_async.runs.ticket import Ticket
from replicate_async.runs.wait import (
    AnyRun,
    OnUpdate,
    Source,
    check_on_update,
    check_timeout,
    given_poll,
)
from replicate_async.runs.watch import Watch, news
from replicate_async.schemas import Prediction, Training

RunT = TypeVar("RunT", Prediction, Training)

_MOST_ANNOUNCED: Final = 4096


def pages_per_second(limits: Limits) -> float:
    """Return how many pages waiting may ask for: half of what there is for such calls."""
    return math.inf if limits.others is None or not limits.enabled else limits.others / 60 / 2


class Waiter:
    """Waits for the runs of one account, in whichever event loop asks it to.

    It remembers how long the models take that were waited for, and which runs a webhook has said
    to be over, so that a wait which begins after the webhook need not be patient.
    """

    def __init__(
        self,
        *,
        dice: Callable[[], float] = random.random,
        pages_per_second: float = 25.0,
    ) -> None:
        self._dice = dice
        self._pages_per_second = pages_per_second
        self._announced: OrderedDict[str, None] = OrderedDict()
        self._board: Board | None = None
        self.durations: Durations = Durations()

    def __len__(self) -> int:
        return 0 if self._board is None else len(self._board)

    def board(self) -> Board:
        """Return the waits of the running event loop; those of a loop before it are forgotten."""
        loop = asyncio.get_running_loop()
        if self._board is None or self._board.loop is not loop:
            self._board = Board(
                loop,
                self.durations,
                self._dice,
                announced=self._announced,
                pages_per_second=self._pages_per_second,
            )
        return self._board

    def waits_for(self, kind: str, run_id: str) -> bool:
        """Tell whether somebody waits for the run of that *kind*."""
        return self._board is not None and self._board.find(f"{kind}/{run_id}") is not None

    def announce(self, kind: str, run: AnyRun) -> None:
        """Take note of what a webhook says of a *run*: whoever waits for it is told at once."""
        board = self._board
        key = f"{kind}/{run.id}"
        found = None if board is None else board.find(key)
        if board is not None and found is not None:
            if run.done:
                board.arrived(found, run)
            else:
                board.show(found, run)
        elif run.done:
            self._announced[key] = None
            if len(self._announced) > _MOST_ANNOUNCED:
                self._announced.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Waits(Generic[RunT]):
    """Waiting for the runs of one *source* with the others of *waiter*."""

    waiter: Waiter
    source: Source[RunT]

    async def wait(
        self,
        run_id: str,
        *,
        last: RunT | None,
        timeout: float | None,
        queue_timeout: float | None = None,
        poll: Poll | None,
        on_update: OnUpdate[RunT] | None = None,
    ) -> RunT:
        """Return the run as it has ended.

        *last* is the state known already, which spares asking when it is an end.
        """
        check_on_update(on_update)
        if on_update is None:
            check_timeout(timeout)
            check_timeout(queue_timeout, "queue_timeout")
            ticket = Ticket(
                self.source,
                run_id,
                last=last,
                timeout=timeout,
                queue_timeout=queue_timeout,
                poll=given_poll(poll),
                changes=False,
            )
            return cast("RunT", await news(self.waiter.board, ticket))
        watch = self.watch(
            run_id, last=last, timeout=timeout, queue_timeout=queue_timeout, poll=poll
        )
        while True:
            found = await anext(watch)
            answer = on_update(found)
            if isawaitable(answer):
                await answer
            if found.done:
                return found

    def watch(
        self,
        run_id: str,
        *,
        last: RunT | None,
        timeout: float | None,
        queue_timeout: float | None = None,
        poll: Poll | None,
    ) -> Watch[RunT]:
        """Return the changes of the run, as they will be seen from now on."""
        return Watch(
            self.waiter.board,
            self.source,
            run_id,
            last=last,
            timeout=timeout,
            queue_timeout=queue_timeout,
            poll=poll,
        )
