"""What a wait needs of the API, and the arguments of waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from replicate_async.core.poll import Poll
from replicate_async.errors import Bound, DecodeError, InvalidArgumentError, WaitTimeout
from replicate_async.runs.waiting.listed_run import RawPage
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
"""A function or an async function that is called with each change of a run."""


@dataclass(frozen=True, slots=True)
class RunApi(Generic[RunT]):
    """How runs of one kind are polled: one by one, and by pages of the listing.

    *page* takes the earliest and the latest creation time, the first included and the second not. A
    listing that is not *windowed* takes neither, and shows the newest runs.
    """

    kind: Literal["prediction", "training"]
    returns: type[RunT]
    get: Callable[[str], Awaitable[RunT]]
    page: Callable[[datetime | None, datetime | None], Awaitable[RawPage]]
    redact: Callable[[str], str] = str
    """Removes the API token from a text."""
    windowed: bool = field(kw_only=True)


def check_run(answer: RunT, run_id: str) -> RunT:
    """Return *answer* if it shows the run *run_id*; raises `DecodeError`."""
    if answer.id == run_id:
        return answer
    raise DecodeError(
        f"The API was asked about {run_id} and answered about another run. Does a cache on the way "
        "to base_url mix up answers?"
    )


def check_poll(poll: object) -> Poll:
    """Return *poll*, or the default for None; raises `InvalidArgumentError`."""
    return given_poll(poll) or Poll()


def given_poll(poll: object) -> Poll | None:
    """Return *poll* if it is a `Poll` or None; raises `InvalidArgumentError`."""
    if poll is None or isinstance(poll, Poll):
        return poll
    raise InvalidArgumentError(f"poll={poll!r} must be a Poll(...), or None for the usual pace.")


def check_timeout(timeout: object, argument: Bound = "timeout") -> None:
    """Raise `InvalidArgumentError` unless *timeout* is a number of seconds or None."""
    if timeout is None or (isinstance(timeout, int | float) and timeout >= 0):
        return
    raise InvalidArgumentError(
        f"{argument}={timeout!r} must be a number of seconds, 0 or more, or None for no limit."
    )


def check_on_update(on_update: object) -> None:
    """Raise `InvalidArgumentError` unless *on_update* is callable or None."""
    if on_update is not None and not callable(on_update):
        raise InvalidArgumentError(
            f"on_update={on_update!r} must be a function that takes the run, or None."
        )


_ADVICE: Final = {
    "goes on": "it goes on. Wait again, cancel it, or",
    "unknown": "it was not canceled, and may go on. Wait again, cancel it, or",
    "canceled": "it was canceled. To give it more time,",
    "not canceled": (
        "canceling it failed, so it may go on: look for it with predictions.get. To give it more "
        "time,"
    ),
}


def timed_out(
    run_id: str, error: WaitTimeout, outcome: Literal["goes on", "canceled", "not canceled"]
) -> str:
    """Return the message of *error*, with the *outcome* for the run *run_id*."""
    last, trouble = error.last, error.poll_error
    state = "was never seen" if last is None else f"is still {last.status}"
    if last is not None and trouble:
        state = f"was last seen {last.status} and has not ended"
    where = "of waiting" if error.bound == "timeout" else "in the queue"
    advice = _ADVICE["unknown" if outcome == "goes on" and trouble else outcome]
    message = (
        f"{run_id} {state} after {error.seconds:g} s {where}; {advice} pass a longer "
        f"{error.bound}=."
    )
    return f"{message} The last poll failed: {trouble}" if trouble else message


def combined(polls: list[Poll | None]) -> Poll | None:
    """Return the pace that is as fast as each of *polls*."""
    first = polls[0]
    if all(poll == first for poll in polls):
        return first
    given = [poll or Poll() for poll in polls]
    return Poll(
        first=min(poll.first for poll in given),
        starting=min(poll.starting for poll in given),
        processing=min(poll.processing for poll in given),
    )


def differ(known: AnyRun | None, found: AnyRun) -> bool:
    """Return whether *found* differs from *known* in status, logs, output or error."""
    return known is None or (
        known.status != found.status
        or (known.logs or "") != (found.logs or "")
        or known.output != found.output
        or (known.error or "") != (found.error or "")
    )
