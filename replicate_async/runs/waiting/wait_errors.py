"""What a failed poll means for a wait, and the errors that end a wait."""

from __future__ import annotations

import copy
from typing import Final, Literal, TypeAlias

from replicate_async.errors import (
    APIConnectionError,
    APIStatusError,
    Bound,
    DecodeError,
    LimiterError,
    NotFoundError,
    PredictionGone,
    RedirectError,
    ReplicateError,
    StreamError,
    TLSError,
    WaitTimeout,
)
from replicate_async.runs.waiting.tracked_run import Subscription, TrackedRun

Meaning: TypeAlias = Literal["transient", "refused", "fatal"]

REFUSED_FOR: Final = 30.0
"""Seconds for which every poll must be refused before the wait ends."""

_TRANSIENT: Final = frozenset({408, 409, 425, 429})


def meaning_of(error: Exception) -> Meaning:
    """Return what the *error* of a poll means for the wait.

    "transient": no answer, a 5xx, a page of a proxy; the wait goes on. "refused": the run is gone,
    or the token, the account or the way to the API is not accepted, which a firewall, a stale
    replica or a captive portal also report for a moment. "fatal": no poll can succeed.
    """
    if isinstance(error, TLSError | RedirectError):
        return "refused"
    if isinstance(error, APIConnectionError | DecodeError | LimiterError):
        return "transient"
    if isinstance(error, APIStatusError):
        is_transient = error.status >= 500 or error.status in _TRANSIENT
        return "transient" if is_transient else "refused"
    return "fatal"


def retry_after(error: Exception) -> float | None:
    """Return the seconds to wait that *error* names, if it does."""
    return error.retry_after if isinstance(error, APIStatusError) else None


def refusal(error: Exception, run: TrackedRun) -> BaseException:
    """Return the error of a wait for *run* whose polls were all refused, the last with *error*."""
    last = run.last_seen()
    state = "" if last is None else f", last seen {last.status}"
    go_on = f"{run.api.kind}s.wait({run.run_id!r})"
    if run.seen and isinstance(error, NotFoundError):
        return PredictionGone(
            f"{run.run_id}{state}, was not found by any poll for {REFUSED_FOR:g} s: it was deleted "
            f"while it was waited for, or the token is another account's. If it is there after "
            f"all, go on with {go_on}.",
            last=last,
        )
    refused = copied(error)
    if isinstance(refused, APIStatusError | APIConnectionError | RedirectError):
        refused.prediction = last
        message = (
            f"{error} Every poll for {REFUSED_FOR:g} s ended like that, so the wait for "
            f"{run.run_id}{state}, ended; the run was not canceled. Go on with {go_on}."
        )
        refused.args = (message,)
    return refused


_ABOUT_REQUESTS: Final = (
    APIStatusError,
    APIConnectionError,
    PredictionGone,
    RedirectError,
    StreamError,
)


def runs_on(error: BaseException, run_id: str) -> bool:
    """Return whether *error* says nothing about *run_id*: its polls or its stream were refused."""
    if not isinstance(error, _ABOUT_REQUESTS):
        return False
    return error.prediction is not None and error.prediction.id == run_id


def shown(error: Exception) -> str:
    """Return the text of *error* for a `WaitTimeout`."""
    message = str(error) if isinstance(error, ReplicateError) else ""
    return message or type(error).__name__


def copied(error: Exception) -> BaseException:
    """Return a copy of *error* for one more subscriber: each raise adds to its traceback."""
    try:
        return copy.copy(error)
    except Exception:  # noqa: BLE001 - not every error can be copied
        return error


def timeout_error(subscription: Subscription, run: TrackedRun, bound: Bound) -> WaitTimeout:
    """Return the error of a wait that is over by *bound*."""
    seconds: float | None = getattr(subscription.options, bound)
    error = WaitTimeout(
        "", last=run.last_seen(), bound=bound, seconds=seconds or 0.0, poll_error=run.poll_error
    )
    error.args = (timed_out(run.run_id, error, "goes on"),)
    return error


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
