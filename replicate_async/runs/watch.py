"""The changes of one run, as they are seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Self, TypeVar, cast

from replicate_async.core.poll import Poll
from replicate_async.errors import ClientStateError
from replicate_async.runs.board import Board
from replicate_async.runs.ticket import Ticket
from replicate_async.runs.wait import Source, check_timeout, given_poll
from replicate_async.schemas import Prediction, Training

RunT = TypeVar("RunT", Prediction, Training)


class Watch(Generic[RunT]):
    """The changes of a run as they are seen, the last one its end.

    Iterate over it with ``async for``: each item is a snapshot in which status, logs, output or
    error differ from the one before. The run is asked for while the next item is awaited and not
    in between, so a loop may be left at any time, and a slow one gets fewer and later changes.
    Raises what ``wait`` raises.
    """

    __slots__ = ("_awaited", "_board", "_over", "_ticket")

    def __init__(
        self,
        board: Callable[[], Board],
        source: Source[RunT],
        run_id: str,
        *,
        last: RunT | None,
        timeout: float | None,
        queue_timeout: float | None,
        poll: Poll | None,
    ) -> None:
        check_timeout(timeout)
        check_timeout(queue_timeout, "queue_timeout")
        self._board = board
        self._ticket = Ticket(
            source,
            run_id,
            last=last,
            timeout=timeout,
            queue_timeout=queue_timeout,
            poll=given_poll(poll),
            changes=True,
        )
        self._awaited = False
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunT:
        """Return the next change; nothing comes after the end, an error or `close`."""
        if self._over:
            raise StopAsyncIteration
        if self._awaited:
            raise ClientStateError("The run is being watched by another task; one can.")
        self._awaited = True
        try:
            found = await news(self._board, self._ticket)
        except Exception:
            self._over = True
            raise
        finally:
            self._awaited = False
        if found is None or self._over:
            raise StopAsyncIteration
        self._over = found.done
        return cast("RunT", found)

    def close(self) -> None:
        """Watch no more: whoever awaits the next change is told that there is none."""
        self._over = True
        if self._awaited:
            self._board().dismiss(self._ticket)

    def __repr__(self) -> str:
        state = "over" if self._over else "open"
        return f"<Watch {self._ticket.run_id} {state}>"


async def news(board: Callable[[], Board], ticket: Ticket) -> Prediction | Training | None:
    """Return the run that *ticket* is for at its next change, or at its end.

    A run that is known to have ended is returned at once. None is returned when the wait was
    dismissed before anything was known of the run.
    """
    known = ticket.known
    if known is not None and known.done:
        return known
    waits = board()
    try:
        future = waits.join(ticket)
        while future is not None or ticket.called:
            if future is not None:
                await future
            future = await waits.look(ticket) if ticket.called else None
    finally:
        waits.leave(ticket)
        ticket.future = None
    if ticket.error is not None:
        try:
            raise ticket.error
        finally:
            ticket.error = None
    return ticket.known
