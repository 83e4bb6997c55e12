"""Waiting for a run to end, by asking at an adaptive pace."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError, NotFoundError, PredictionGone, WaitTimeout
from replicate_async.schemas import Prediction, Training

PREDICTION_TIMEOUT: Final = 35 * 60.0
"""Seconds; the API ends a prediction after 30 minutes of running."""
TRAINING_TIMEOUT: Final = 24 * 60 * 60.0

_SETTLING: Final = 5.0
"""Seconds in which a run that was just created may still be unknown to the replica asked."""

_SHORTEST_LOOK: Final = 1.0
"""Seconds that a look may take which begins just before the end of the waiting."""

RunT = TypeVar("RunT", Prediction, Training)


class Sleep(Protocol):
    """How time is let pass; `asyncio.sleep`, unless a test says otherwise."""

    def __call__(self, delay: float, /) -> Awaitable[object]:
        """Return after *delay* seconds."""
        ...


async def wait_for(
    fetch: Callable[[str], Awaitable[RunT]],
    run_id: str,
    *,
    last: RunT | None,
    timeout: float | None,
    poll: Poll | None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
    dice: Callable[[], float] = random.random,
) -> RunT:
    """Ask with *fetch* until the run has ended, and return it then.

    *last* is the state known already, which spares asking when it is an end.
    """
    _check_timeout(timeout)
    poll = check_poll(poll)
    started = changed = clock()
    deadline = None if timeout is None else started + timeout
    attempt = 0
    seen = False
    while last is None or not last.done:
        status = "starting" if last is None else last.status
        if last is not None or attempt:
            pause = poll.delay(status, clock() - changed, attempt + 1, dice())
            if deadline is not None and clock() + pause > deadline:
                await sleep(max(0.0, deadline - clock()))
                raise WaitTimeout(_timed_out(run_id, timeout, last), last=last)
            await sleep(pause)
        attempt += 1
        left = None if deadline is None else max(_SHORTEST_LOOK, deadline - clock())
        look = asyncio.timeout(left)
        try:
            async with look:
                run = await fetch(run_id)
        except TimeoutError:
            if not look.expired():
                raise
            raise WaitTimeout(_timed_out(run_id, timeout, last), last=last) from None
        except NotFoundError as error:
            if seen:
                raise PredictionGone(
                    f"{run_id} was deleted while it was waited for; it was last seen {status}.",
                    last=last,
                ) from None
            if clock() - started > _SETTLING:
                raise error from None
            continue
        if last is None or run.status != last.status:
            changed = clock()
        last, seen = run, True
    return last


def check_poll(poll: object) -> Poll:
    """Return *poll*, or the usual pace when it is None; raises `InvalidArgumentError`."""
    if poll is None:
        return Poll()
    if isinstance(poll, Poll):
        return poll
    raise InvalidArgumentError(f"poll={poll!r} must be a Poll(...), or None for the usual pace.")


def _check_timeout(timeout: object) -> None:
    if timeout is None or (isinstance(timeout, int | float) and timeout >= 0):
        return
    raise InvalidArgumentError(
        f"timeout={timeout!r} must be a number of seconds, 0 or more, or None for no limit."
    )


def _timed_out(run_id: str, timeout: float | None, last: Prediction | Training | None) -> str:
    state = "was never seen" if last is None else f"is still {last.status}"
    return (
        f"{run_id} {state} after {timeout:g} s of waiting; it goes on. Wait again, cancel it, or "
        "pass a longer timeout=."
    )
