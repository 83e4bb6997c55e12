"""Waiting for a run to end: what is asked for, and the words for what may become of it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from replicate_async.core.poll import Poll
from replicate_async.errors import Bound, InvalidArgumentError, WaitTimeout
from replicate_async.runs.glance import RawPage
from replicate_async.schemas import Prediction, Training

PREDICTION_TIMEOUT: Final = 35 * 60.0
"""Seconds of work; the API ends a prediction after 30 minutes of running."""
PREDICTION_QUEUE_TIMEOUT: Final = 60 * 60.0
"""Seconds before it: a cold model boots for minutes, and waiting in the queue is not billed."""
TRAINING_TIMEOUT: Final = 24 * 60 * 60.0
TRAINING_QUEUE_TIMEOUT: Final = 24 * 60 * 60.0

AnyRun: TypeAlias = Prediction | Training
RunT = TypeVar("RunT", Prediction, Training)
OnUpdate = Callable[[RunT], object]
"""What is called, and awaited if need be, with each change of a run."""


class Sleep(Protocol):
    """How time is let pass; `asyncio.sleep`, unless a test says otherwise."""

    def __call__(self, delay: float, /) -> Awaitable[object]:
        """Return after *delay* seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Source(Generic[RunT]):
    """Where runs of one kind are asked for: one by one, and by the page.

    *page* takes two times, the first included and the second not. A listing that is not *windowed*
    has neither, and shows the newest.
    """

    kind: Literal["prediction", "training"]
    returns: type[RunT]
    get: Callable[[str], Awaitable[RunT]]
    page: Callable[[datetime | None, datetime | None], Awaitable[RawPage]]
    windowed: bool


def check_poll(poll: object) -> Poll:
    """Return *poll*, or the usual pace when it is None; raises `InvalidArgumentError`."""
    return given_poll(poll) or Poll()


def given_poll(poll: object) -> Poll | None:
    """Return *poll* if it is one, or None; raises `InvalidArgumentError`."""
    if poll is None or isinstance(poll, Poll):
        return poll
    raise InvalidArgumentError(f"poll={poll!r} must be a Poll(...), or None for the usual pace.")


def check_timeout(timeout: object, argument: Bound = "timeout") -> None:
    """Raise `InvalidArgumentError` for a *timeout* that is no number of seconds, and not None."""
    if timeout is None or (isinstance(timeout, int | float) and timeout >= 0):
        return
    raise InvalidArgumentError(
        f"{argument}={timeout!r} must be a number of seconds, 0 or more, or None for no limit."
    )


def check_on_update(on_update: object) -> None:
    """Raise `InvalidArgumentError` unless *on_update* can be called, or is None."""
    if on_update is not None and not callable(on_update):
        raise InvalidArgumentError(
            f"on_update={on_update!r} must be a function that takes the run, or None."
        )


_FATES: Final = {
    "goes on": "it goes on. Wait again, cancel it, or",
    "unknown": "it was not canceled, and may go on. Wait again, cancel it, or",
    "canceled": "it was canceled. To give it more time,",
    "not canceled": (
        "canceling it failed, so it may go on: look for it with predictions.get. To give it more "
        "time,"
    ),
}


def timed_out(
    run_id: str, error: WaitTimeout, fate: Literal["goes on", "canceled", "not canceled"]
) -> str:
    """Return the message of *error*, which ended a wait for *run_id*; *fate* is the run's."""
    last, trouble = error.last, error.poll_error
    state = "was never seen" if last is None else f"is still {last.status}"
    if last is not None and trouble:
        state = f"was last seen {last.status} and has not ended"
    time = (
        f"{error.seconds:g} s of waiting"
        if error.bound == "timeout"
        else (f"{error.seconds:g} s in the queue")
    )
    what = _FATES["unknown" if fate == "goes on" and trouble else fate]
    said = f"{run_id} {state} after {time}; {what} pass a longer {error.bound}=."
    return f"{said} The last poll failed: {trouble}" if trouble else said


def stronger(polls: list[Poll | None]) -> Poll | None:
    """Return the pace that satisfies everybody in *polls*."""
    first = polls[0] if polls else None
    if all(poll == first for poll in polls):
        return first
    starting = processing = begin = math.inf
    for poll in polls:
        pace = poll or Poll()
        begin = min(begin, pace.first)
        starting, processing = min(starting, pace.starting), min(processing, pace.processing)
    return Poll(first=begin, starting=starting, processing=processing)


def differ(known: AnyRun | None, found: AnyRun) -> bool:
    """Tell whether *found* shows something that *known* does not."""
    return known is None or (
        known.status != found.status
        or (known.logs or "") != (found.logs or "")
        or known.output != found.output
        or (known.error or "") != (found.error or "")
    )
