"""What a browser may know of an error: what it can act on, and nothing of the server's affairs."""

from __future__ import annotations

import math
from typing import Final

from replicate_async.errors import (
    APIStatusError,
    APITimeoutError,
    InvalidArgumentError,
    PredictionCanceled,
    PredictionError,
    ReplicateError,
)

_TO_THE_POINT: Final = frozenset({400, 404, 409, 413, 422, 429})
"""Statuses about the request. Those about the token and the account are the server's own affair."""


def error_status(error: ReplicateError) -> int:
    """Return the HTTP status that a browser should get for *error*.

    What the API said about the request goes on as it is. Trouble between this server and the API,
    a wrong token among it, is a 502 (504 for a timeout, 503 if the API said so).
    """
    if isinstance(error, APIStatusError):
        if error.status in _TO_THE_POINT or error.status == 503:
            return error.status
        return 502
    if isinstance(error, APITimeoutError):
        return 504
    return 400 if isinstance(error, InvalidArgumentError) else 502


def error_headers(error: ReplicateError) -> dict[str, str]:
    """Return the headers that go with `error_status`: when to come back, if the API said so."""
    after = error.retry_after if isinstance(error, APIStatusError) else None
    headers = {"Cache-Control": "no-store"}
    return headers if after is None else {**headers, "Retry-After": str(math.ceil(after))}


def public_message(error: Exception) -> str:
    """Return what a user may read about *error*: the model's own words, or something general."""
    if isinstance(error, PredictionCanceled):
        return "The run was canceled."
    if isinstance(error, PredictionError):
        return error.prediction.error or "The model failed."
    if isinstance(error, APIStatusError) and error.status in _TO_THE_POINT:
        return str(error.problem)
    if isinstance(error, InvalidArgumentError):
        return "The request is wrong."
    if isinstance(error, ReplicateError):
        return "The model cannot be reached at the moment."
    return "Something went wrong on the server."
