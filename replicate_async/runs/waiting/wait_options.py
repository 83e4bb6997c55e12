"""The arguments of waits: two time limits, a pace and a function that sees each change."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Final, TypeAlias, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.core.numbers import is_number
from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError
from replicate_async.runs.waiting.run_api import RunT

PREDICTION_TIMEOUT: Final = 35 * 60.0
"""Seconds of work; the API ends a prediction after 30 minutes of running."""
PREDICTION_QUEUE_TIMEOUT: Final = 60 * 60.0
"""Seconds before it: a cold model boots for minutes, and waiting in the queue is not billed."""
TRAINING_TIMEOUT: Final = 24 * 60 * 60.0
TRAINING_QUEUE_TIMEOUT: Final = 24 * 60 * 60.0

OnUpdate: TypeAlias = Callable[[RunT], object]
"""A function or an async function that is called with each change of a run."""


class WaitOptions(msgspec.Struct, frozen=True):
    """How long a wait lasts, how often it polls, and what it calls.

    None is no limit, the usual pace, and no function. Raises `InvalidArgumentError`.
    """

    timeout: float | None = None
    """Seconds of work."""
    queue_timeout: float | None = None
    """Seconds before it."""
    poll: Poll | None = None
    on_update: Callable[[Any], object] | None = None
    """Called with each change of the run."""

    def __post_init__(self) -> None:
        for argument in ("timeout", "queue_timeout"):
            value: object = getattr(self, argument)
            if value is not None and not is_number(value, 0, math.inf):
                raise InvalidArgumentError(
                    f"{argument}={shorten(value)} must be a number of seconds, 0 or more, or None "
                    "for no limit."
                )
        poll = cast("object", self.poll)
        if not isinstance(poll, Poll | None):
            raise InvalidArgumentError(
                f"poll={shorten(poll)} must be a Poll(...), or None for the usual pace."
            )
        if self.on_update is not None and not callable(self.on_update):
            raise InvalidArgumentError(
                f"on_update={shorten(self.on_update)} must be a function that takes the run, or "
                "None."
            )

    async def report(self, state: object) -> None:
        """Call *on_update* with *state*, and await it if it is an async function."""
        if self.on_update is not None and isawaitable(answer := self.on_update(state)):
            await answer


def combined(polls: list[Poll | None]) -> Poll | None:
    """Return the pace that is as fast as each of *polls*, None for the usual one."""
    if not any(polls):
        return None
    given = [poll or Poll() for poll in polls]
    return Poll(
        first=min(poll.first for poll in given),
        starting=min(poll.starting for poll in given),
        processing=min(poll.processing for poll in given),
    )
