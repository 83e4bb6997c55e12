"""Errors as a browser may see them: without anything about the server and its account."""

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

_ABOUT_THE_REQUEST: Final = frozenset({400, 404, 409, 413, 422, 429})
"""Statuses about the request; others are about the token, the account or the API."""


def error_status(error: ReplicateError) -> int:
    """Return the HTTP status that a browser should get for an error.

    A status about the request is passed on. A problem between this server and the API, such as a
    wrong token, is a 502 (504 for a timeout, 503 if the API answered that).

    Args:
        error: The error that was raised when the stream was entered.
    """
    if isinstance(error, APIStatusError):
        if error.status in _ABOUT_THE_REQUEST or error.status == 503:
            return error.status
        return 502
    if isinstance(error, APITimeoutError):
        return 504
    return 400 if isinstance(error, InvalidArgumentError) else 502


def error_headers(error: ReplicateError) -> dict[str, str]:
    """Return the headers for `error_status`: ``Retry-After`` if the API sent it.

    Args:
        error: The error that was raised when the stream was entered.
    """
    after = error.retry_after if isinstance(error, APIStatusError) else None
    headers = {"Cache-Control": "no-store"}
    return headers if after is None else {**headers, "Retry-After": str(math.ceil(after))}


def public_message(error: Exception) -> str:
    """Return what a user may read about an error: the text of the model, or a general one.

    Args:
        error: An error of the stream, or of the program.
    """
    if isinstance(error, PredictionCanceled):
        return "The run was canceled."
    if isinstance(error, PredictionError):
        return error.prediction.error or "The model failed."
    if isinstance(error, APIStatusError) and error.status in _ABOUT_THE_REQUEST:
        return str(error.problem)
    if isinstance(error, InvalidArgumentError):
        return "The request is wrong."
    if isinstance(error, ReplicateError):
        return "The model cannot be reached at the moment."
    return "Something went wrong on the server."
