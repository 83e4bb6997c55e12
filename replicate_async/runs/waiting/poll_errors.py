"""What a poll that failed says of the run, and how it ends a wait when it goes on failing."""

from __future__ import annotations

import copy
from typing import Final, Literal, TypeAlias

from replicate_async.errors import (
    APIConnectionError,
    APIStatusError,
    DecodeError,
    LimiterError,
    NotFoundError,
    PredictionGone,
    RedirectError,
    ReplicateError,
    TLSError,
)
from replicate_async.schemas import Prediction, Training

Meaning: TypeAlias = Literal["nothing", "refused", "fatal"]

REFUSED_FOR: Final = 30.0
"""Seconds for which every poll must be refused before the wait ends."""

LONGEST_PAUSE: Final[dict[Meaning, float]] = {"nothing": 30.0, "refused": 5.0}
"""Seconds between two polls of one run that fail."""

_PASSING: Final = frozenset({408, 409, 425, 429})


def meaning_of(error: Exception) -> Meaning:
    """Return what a poll that failed with *error* says.

    "nothing" about the run: no answer, a 5xx, a page of a proxy; the wait goes on. "refused": the
    run is gone, or the token, the account or the way to the API is not accepted, which a firewall,
    a stale replica or a captive portal also say for a moment. "fatal": no poll can work any more.
    """
    if isinstance(error, TLSError | RedirectError):
        return "refused"
    if isinstance(error, APIConnectionError | DecodeError | LimiterError):
        return "nothing"
    if isinstance(error, APIStatusError):
        passing = error.status >= 500 or error.status in _PASSING
        return "nothing" if passing else "refused"
    return "fatal"


def retry_after(error: Exception) -> float | None:
    """Return the seconds that *error* says to wait, None if it does not."""
    return error.retry_after if isinstance(error, APIStatusError) else None


def refusal(
    error: Exception, kind: str, run_id: str, last: Prediction | Training | None, *, seen: bool
) -> BaseException:
    """Return what ends a wait whose polls were all refused for `REFUSED_FOR` seconds.

    *error* is the last refusal, *seen* whether a poll was answered before.
    """
    state = "" if last is None else f", last seen {last.status}"
    go_on = f"{kind}s.wait({run_id!r})"
    if seen and isinstance(error, NotFoundError):
        return PredictionGone(
            f"{run_id}{state}, was not found by any poll for {REFUSED_FOR:g} s: it was deleted "
            f"while it was waited for, or the token is another account's. If it is there after "
            f"all, go on with {go_on}.",
            last=last,
        )
    fault = copied(error)
    if isinstance(fault, APIStatusError | APIConnectionError | RedirectError):
        fault.prediction = last
        said = (
            f"{error} Every poll for {REFUSED_FOR:g} s ended like that, so the wait for "
            f"{run_id}{state}, ended; the run was not canceled. Go on with {go_on}."
        )
        fault.args = (said,)
    return fault


def runs_on(error: BaseException, run_id: str) -> bool:
    """Tell whether *error* ended a wait for *run_id* because its polls were refused."""
    if not isinstance(error, APIStatusError | APIConnectionError | RedirectError | PredictionGone):
        return False
    return error.prediction is not None and error.prediction.id == run_id


def shown(error: Exception) -> str:
    """Return what a timeout says of *error*, with which the last poll failed."""
    said = str(error) if isinstance(error, ReplicateError) else ""
    return said or type(error).__name__


def copied(error: Exception) -> BaseException:
    """Return an error like *error*: a traceback grows wherever its one error is raised."""
    try:
        return copy.copy(error)
    except Exception:  # noqa: BLE001 - not every error can be copied
        return error
