"""Repeats of runs that failed because of the service: which, how often, after which pause."""

from __future__ import annotations

from typing import Final

from replicate_async.core.backoff import backoff
from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
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
        raise InvalidArgumentError(
            f"retries={shorten(retries)} is out of range; it is a whole number from 0 to {_MOST}."
        )
