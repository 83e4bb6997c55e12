"""Repeats of runs that failed because of the service: one rule for ``run`` and batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from replicate_async.core.backoff import backoff
from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError, ReplicateError
from replicate_async.runs.run import error_of
from replicate_async.schemas import Prediction

FIRST_PAUSE: Final = 1.0
"""Seconds before the first repeat."""
_LONGEST_PAUSE: Final = 30.0
_MOST: Final = 100

# docs "reference/error-codes": failures of the service, not of the model.
_CODES: Final = frozenset({"PA", "E6716", "E8367", "E8765", "E9243", "E9825", "E9828"})


def is_repeatable(ended: Prediction) -> bool:
    """Whether a prediction was aborted, or failed because of the service and not of the model."""
    return ended.status == "aborted" or (ended.status == "failed" and ended.error_code in _CODES)


def pause_before(repeat: int, first: float = FIRST_PAUSE) -> float:
    """Return the seconds before a *repeat*, which counts from 1; *first* is the first pause."""
    return backoff(repeat, base=first, cap=_LONGEST_PAUSE)


def check_retries(retries: object) -> None:
    """Raise `InvalidArgumentError` unless *retries* is a number of repeats."""
    if type(retries) is not int or not 0 <= retries <= _MOST:
        raise InvalidArgumentError(f"retries={shorten(retries)} must be an int from 0 to {_MOST}.")


async def repeated(
    attempt: Callable[[], Awaitable[Prediction]],
    retries: int,
    on_failure: Callable[[Prediction], object],
) -> Prediction:
    """Await the end of *attempt*, and of at most *retries* more after failures of the service.

    *on_failure* is called with each failed prediction that another attempt follows. Returns the one
    that succeeded, else raises its error, which has those before it.
    """
    earlier: list[Prediction] = []
    while True:
        number = f"attempt {len(earlier) + 1} of {retries + 1}"
        try:
            ended = await attempt()
        except ReplicateError as error:
            if earlier:
                ids = ", ".join(failed.id for failed in earlier)
                error.add_note(f"It ended {number}; these predictions failed before it: {ids}.")
            raise
        if (failed := error_of(ended)) is None:
            return ended
        if len(earlier) == retries or not is_repeatable(ended):
            if earlier:
                failed.earlier = tuple(earlier)
                failed.args = (f"{failed} ({number})",)
            raise failed
        on_failure(ended)
        earlier.append(ended)
        await asyncio.sleep(pause_before(len(earlier)))
