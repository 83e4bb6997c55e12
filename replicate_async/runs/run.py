"""Running a model to its end, and stopping it when nobody wants the end any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable
from math import ceil, inf
from typing import Final

import anyio

from replicate_async.core.durations import Durations
from replicate_async.core.poll import Poll
from replicate_async.core.tasks import run_within
from replicate_async.errors import (
    OutputRemovedError,
    ReplicateError,
    WaitTimeout,
    prediction_error,
)
from replicate_async.refs import VersionRef
from replicate_async.runs.waiting.poll_errors import runs_on
from replicate_async.runs.waiting.run_api import OnUpdate, timed_out
from replicate_async.runs.waiting.watch import PredictionWaits
from replicate_async.schemas import Prediction

CANCEL_WITHIN: Final = 5.0
"""Seconds that leaving early may take to cancel the prediction."""

_QUICK: Final = 3.0
_LONGEST_HOLD: Final = 60
_SHORTEST_DEADLINE: Final = 5
_LONGEST_DEADLINE: Final = 24 * 60 * 60

Cancel = Callable[[str], Awaitable[Prediction]]


async def run_to_end(
    create: Awaitable[Prediction],
    wait: Callable[[Prediction], Awaitable[Prediction]],
    cancel: Cancel,
) -> Prediction:
    """Create a prediction, wait for it and return it succeeded.

    Raises `PredictionFailed`, `PredictionCanceled`, `PredictionAborted` or `OutputRemovedError`.
    When the task is cancelled or the wait takes too long, the prediction is cancelled too. It is
    not when the polls were refused, which says nothing of it.
    """
    prediction = await created(create, cancel)
    try:
        prediction = await wait(prediction)
    except BaseException as reason:
        ended = None if prediction.done else await give_up(cancel, prediction.id, reason)
        if ended is None:
            raise
        prediction = ended
    if prediction.status != "succeeded":
        raise prediction_error(prediction)
    if prediction.output is None and prediction.data_removed:
        raise OutputRemovedError(
            f"prediction {prediction.id} succeeded, but its output has been removed since, which "
            "happens an hour after the end; run it again.",
            prediction=prediction,
        )
    return prediction


async def follow_to_end(
    waits: PredictionWaits[Prediction],
    made: Prediction,
    *,
    timeout: float | None,
    queue_timeout: float | None,
    poll: Poll | None,
    on_update: OnUpdate[Prediction] | None,
) -> Prediction:
    """Wait for the prediction that was just *made*; *on_update* is called with that, too."""
    if made.done:
        waits.tracker.record_duration(made)
    if on_update is not None and not made.done:
        answer = on_update(made)
        if isawaitable(answer):
            await answer
    return await waits.wait(
        made.id,
        last=made,
        timeout=timeout,
        queue_timeout=queue_timeout,
        poll=poll,
        on_update=on_update,
    )


def within_bounds(
    hold: int | bool | None,  # noqa: FBT001 - the argument of `run`
    timeout: float | None,
    queue_timeout: float | None,
) -> int | bool | None:
    """Return the seconds for which an answer may be held so that neither bound is missed by more.

    While it is held, no answer shows where the run stands.
    """
    if type(hold) not in {int, bool} or not hold or hold > _LONGEST_HOLD:
        return hold
    shortest = min(inf if bound is None else bound for bound in (timeout, queue_timeout))
    if shortest < 1:
        return False
    longest = _LONGEST_HOLD if hold is True else hold
    return int(shortest) if shortest < longest else hold


def spared_polls(durations: Durations, ref: VersionRef) -> int | None:
    """Return how many seconds the API should hold its answer to a create, None not to hold it.

    A run that ends meanwhile takes one request in all, and otherwise about five in the first
    second. But while an answer is held nobody knows the run's id: it is lost when the connection
    breaks, and cannot be canceled. So only what is known to be quick is held, and for less than
    leaving early may take.
    """
    model = None if ref.model is None else str(ref.model)
    typical = durations.typical(model, ref.version, queued=True)
    if typical is None or typical.late > _QUICK:
        return None
    return ceil(typical.late) + 1


def time_left() -> int | None:
    """Return in how many seconds the deadline around this task is, as the API can keep it.

    None without a deadline, which is that of anyio's cancel scopes: asyncio's own cannot be seen
    from within.
    """
    deadline = anyio.current_effective_deadline()
    if deadline in (-inf, inf):
        return None
    left = deadline - anyio.current_time()
    return max(_SHORTEST_DEADLINE, ceil(left)) if left <= _LONGEST_DEADLINE else None


async def created(create: Awaitable[Prediction], cancel: Cancel) -> Prediction:
    """Await *create*; when the task is cancelled meanwhile, cancel what it creates.

    The request may have left already. Dropping its answer would leave a prediction running whose
    id nobody knows, so the answer is awaited a little longer, and then cancelled.
    """
    creating = asyncio.ensure_future(create)
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        with suppress(TimeoutError):
            await run_within(CANCEL_WITHIN, _cancel_created(creating, cancel))
        raise


async def _cancel_created(creating: asyncio.Future[Prediction], cancel: Cancel) -> None:
    with suppress(ReplicateError):
        prediction = await creating
        await cancel(prediction.id)


async def give_up(cancel: Cancel, prediction_id: str, reason: BaseException) -> Prediction | None:
    """Cancel a prediction whose wait ended with *reason*, unless that left it running.

    A `WaitTimeout` says what became of it. Return the prediction if it had ended in time after all:
    its output is paid for.
    """
    if runs_on(reason, prediction_id):
        return None
    answer = await cancel_answered(cancel, prediction_id)
    if not isinstance(reason, WaitTimeout):
        return None
    if answer is not None and answer.status in ("succeeded", "failed"):
        return answer
    fate = timed_out(prediction_id, reason, "not canceled" if answer is None else "canceled")
    reason.args = (fate,)
    return None


async def cancel_quietly(cancel: Cancel, prediction_id: str) -> None:
    """Cancel a prediction as `cancel_answered` does; a failure of that is ignored."""
    await cancel_answered(cancel, prediction_id)


async def cancel_answered(cancel: Cancel, prediction_id: str) -> Prediction | None:
    """Cancel a prediction, within `CANCEL_WITHIN` seconds and whatever cancels this task.

    Return what the API answers. A failure returns None: it must not hide why the prediction is
    given up. A cancel of this task that comes meanwhile is raised at the end.
    """
    try:
        return await run_within(CANCEL_WITHIN, cancel(prediction_id))
    except (ReplicateError, TimeoutError):
        return None
