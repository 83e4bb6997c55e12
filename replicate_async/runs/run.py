"""Running a model to its end, and cancelling a prediction that is not needed any more."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import ceil, inf
from typing import Final

from replicate_async.core.durations import Durations
from replicate_async.core.tasks import run_within
from replicate_async.errors import (
    OutputRemovedError,
    PredictionError,
    ReplicateError,
    WaitTimeout,
    prediction_error,
)
from replicate_async.refs import VersionRef
from replicate_async.runs.waiting.run_api import check_run
from replicate_async.runs.waiting.wait_errors import runs_on, timed_out
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits
from replicate_async.schemas import Prediction

CANCEL_WITHIN: Final = 5.0
"""Seconds that cancelling a prediction may take."""

_QUICK: Final = 3.0
"""Seconds; the create of a model whose runs take longer is not held."""
_LONGEST_SYNC_WAIT: Final = 60
_SHORTEST_CANCEL_AFTER: Final = 5
_LONGEST_CANCEL_AFTER: Final = 24 * 60 * 60

Cancel = Callable[[str], Awaitable[Prediction]]


async def run_to_end(
    create: Callable[[], Awaitable[Prediction]],
    wait: Callable[[Prediction], Awaitable[Prediction]],
    cancel: Cancel,
) -> Prediction:
    """Create a prediction, wait for it and return it as it ended.

    When the task is cancelled or the wait times out, the prediction is cancelled too. It is not
    when the API refused the polls: that says nothing about the run.
    """
    prediction = await create_or_cancel(create(), cancel)
    try:
        return await wait(prediction)
    except BaseException as error:
        ended = None if prediction.done else await give_up(cancel, prediction.id, error)
        if ended is None:
            raise
        return ended


def error_of(ended: Prediction) -> PredictionError | OutputRemovedError | None:
    """Return the error of a prediction that has ended, None if its output is there."""
    if ended.status != "succeeded":
        return prediction_error(ended)
    if ended.output is None and ended.data_removed:
        return OutputRemovedError(
            f"prediction {ended.id} succeeded, but its output has been removed since, which "
            "happens an hour after the end; run it again.",
            prediction=ended,
        )
    return None


async def wait_for_created(
    waits: PredictionWaits[Prediction], created: Prediction, options: WaitOptions
) -> Prediction:
    """Wait for a prediction that was just created; ``on_update`` is called with it first."""
    if created.done:
        waits.tracker.record_end(created)
    else:
        await options.report(created)
    return await waits.wait(created.id, options, last=created)


async def create_or_cancel(create: Awaitable[Prediction], cancel: Cancel) -> Prediction:
    """Await *create*; a cancellation of the task meanwhile cancels the created prediction.

    The request may have been sent already, and without its answer the prediction would run on
    under an unknown id. So the answer is awaited, and the prediction cancelled, within
    `CANCEL_WITHIN` seconds.
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


async def give_up(cancel: Cancel, prediction_id: str, error: BaseException) -> Prediction | None:
    """Cancel a prediction whose wait ended with *error*, unless the error says that it runs on.

    The message of a `WaitTimeout` is completed with the result of the cancel. Returns the
    prediction if it had ended before the cancel: its output is paid for.
    """
    if runs_on(error, prediction_id):
        return None
    answer = await cancel_quietly(cancel, prediction_id)
    return add_outcome(error, prediction_id, answer) if isinstance(error, WaitTimeout) else None


def add_outcome(
    error: WaitTimeout, prediction_id: str, answer: Prediction | None
) -> Prediction | None:
    """Add to the message of *error* whether the prediction was cancelled.

    *answer* is the answer to the cancel. Returns it, and leaves the message, if the prediction had
    ended before.
    """
    if answer is not None and answer.status in ("succeeded", "failed"):
        return answer
    message = timed_out(prediction_id, error, "not canceled" if answer is None else "canceled")
    error.args = (message,)
    return None


async def cancel_quietly(cancel: Cancel, prediction_id: str) -> Prediction | None:
    """Cancel a prediction within `CANCEL_WITHIN` seconds; returns the answer of the API.

    Returns None if the cancel fails, so that it does not hide the error before it. A cancellation
    of the task meanwhile is raised at the end.
    """
    try:
        answer = await run_within(CANCEL_WITHIN, cancel(prediction_id))
        return check_run(answer, prediction_id)
    except (ReplicateError, TimeoutError):
        return None


def sync_wait_hint(durations: Durations, ref: VersionRef) -> int | None:
    """Return the seconds for which the API should hold its answer to a create, None for not at all.

    A run that ends while the answer is held takes one request instead of about six. But a held
    answer hides the id of the run: the run is lost when the connection breaks, and cannot be
    cancelled. So only models that are known to be quick are held, for less time than
    `CANCEL_WITHIN`.
    """
    model = None if ref.model is None else str(ref.model)
    typical = durations.typical(model, ref.version, queued=True)
    if typical is None or typical.late > _QUICK:
        return None
    return ceil(typical.late) + 1


def sync_wait_within(
    wait: int | bool | None,  # noqa: FBT001 - the argument of `run`
    timeout: float | None,
    queue_timeout: float | None,
) -> int | bool | None:
    """Return *wait*, shortened so that a held answer exceeds neither timeout by a second."""
    if type(wait) not in {int, bool} or not wait or wait > _LONGEST_SYNC_WAIT:
        return wait
    shortest = min(inf if bound is None else bound for bound in (timeout, queue_timeout))
    if shortest < 1:
        return False
    longest = _LONGEST_SYNC_WAIT if wait is True else wait
    return int(shortest) if shortest < longest else wait


def cancel_after_hint() -> int | None:
    """Return the seconds until the deadline of the anyio cancel scopes around the task.

    None without a deadline, and for one that the API does not take (more than 24 hours). Deadlines
    of `asyncio.timeout` are invisible here.
    """
    if "anyio" not in sys.modules:  # it takes 10 ms to import; until then there is no scope
        return None
    import anyio  # noqa: PLC0415 - see above

    deadline = anyio.current_effective_deadline()
    if deadline in (-inf, inf):
        return None
    left = deadline - anyio.current_time()
    return max(_SHORTEST_CANCEL_AFTER, ceil(left)) if left <= _LONGEST_CANCEL_AFTER else None
