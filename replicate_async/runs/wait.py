"""Waiting for a run to end: what is asked for, and the words for what may become of it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError
from replicate_async.runs.glance import RawPage
from replicate_async.schemas import Prediction, Training

PREDICTION_TIMEOUT: Final = 35 * 60.0
"""Seconds; the API ends a prediction after 30 minutes of running."""
TRAINING_TIMEOUT: Final = 24 * 60 * 60.0

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


def check_timeout(timeout: object) -> None:
    """Raise `InvalidArgumentError` for a *timeout* that is no number of seconds, and not None."""
    if timeout is None or (isinstance(timeout, int | float) and timeout >= 0):
        return
    raise InvalidArgumentError(
        f"timeout={timeout!r} must be a number of seconds, 0 or more, or None for no limit."
    )


def check_on_update(on_update: object) -> None:
    """Raise `InvalidArgumentError` unless *on_update* can be called, or is None."""
    if on_update is not None and not callable(on_update):
        raise InvalidArgumentError(
            f"on_update={on_update!r} must be a function that takes the run, or None."
        )


def timed_out(run_id: str, timeout: float, last: Prediction | Training | None) -> str:
    """Return what is to be said when waiting for *run_id* took longer than *timeout*."""
    state = "was never seen" if last is None else f"is still {last.status}"
    return (
        f"{run_id} {state} after {timeout:g} s of waiting; it goes on. Wait again, cancel it, or "
        "pass a longer timeout=."
    )


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
