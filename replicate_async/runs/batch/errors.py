"""Errors of items, and which errors end the batch."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from replicate_async.core.problem import blames_version as problem_blames_version
from replicate_async.errors import (
    AmbiguousCreateError,
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ClientStateError,
    FileError,
    FinishError,
    InvalidArgumentError,
    JournalError,
    LimiterError,
    OutputExpiredError,
    OutputRemovedError,
    PaymentRequiredError,
    PermissionDeniedError,
    PrepareError,
    RateLimitError,
    RedirectError,
    ReplicateError,
    ServerError,
    TLSError,
    UntrustedURLError,
)
from replicate_async.schemas import Prediction

MAX_LOST: Final = 5
"""Creates of one item that may break off without effect before it is an error."""

_OF_ONE_FILE: Final = {
    errno.EACCES,
    errno.EEXIST,
    errno.EFBIG,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTEMPTY,
    errno.EPERM,
}
"""Error numbers that are about one file, in a folder that takes others."""


class ItemError(Exception):
    """Ends an item with an error; the other items go on."""

    def __init__(self, error: ReplicateError, prediction: Prediction | None = None) -> None:
        super().__init__(str(error))
        self.error: ReplicateError = error
        self.prediction = prediction


def is_transient(error: ReplicateError) -> bool:
    """Whether the API or the limiter was out or busy, so that a later request may succeed."""
    transient = isinstance(error, APIConnectionError | LimiterError | RateLimitError | ServerError)
    return transient and not isinstance(error, TLSError)


def is_fatal(error: ReplicateError) -> bool:
    """Whether every other create would fail in the same way."""
    return isinstance(
        error,
        AuthenticationError
        | PaymentRequiredError
        | PermissionDeniedError
        | TLSError
        | RedirectError
        | UntrustedURLError
        | ClientStateError
        | JournalError,
    )


def ends_every_wait(error: ReplicateError) -> bool:
    """Whether the error of one wait would end all others: all polls have been refused for long.

    A 402, 403 or 404 may be about one prediction: it is the error of its item.
    """
    return isinstance(
        error,
        AuthenticationError | TLSError | RedirectError | UntrustedURLError | ClientStateError,
    )


def blames_version(error: ReplicateError) -> bool:
    """Whether a 422 is about the version and not about the input."""
    if isinstance(error, InvalidArgumentError) or not isinstance(error, APIStatusError):
        return False
    return problem_blames_version(error.problem)


def uncertain(
    key: str, reason: str, intent_at: float | None, cause: AmbiguousCreateError | None
) -> AmbiguousCreateError:
    """Return the error of an item whose prediction may or may not have been created."""
    sent_at = datetime.fromtimestamp(intent_at or 0.0, UTC)
    ended = f" The create ended with: {cause}" if cause is not None else ""
    error = AmbiguousCreateError(
        f"A prediction for {key!r} may have been created after {sent_at:%Y-%m-%d %H:%M:%S} "
        f"UTC: {reason}. It was not created again. Run the batch again with the same journal to "
        "look once more, or look for it on the website and record what you found: "
        f"'replicate-async batch resolve JOURNAL KEY --prediction ID', or --absent.{ended}"
    )
    error.sent_at = sent_at
    return error


def given_up(key: str, last: AmbiguousCreateError) -> ReplicateError:
    """Return the error of an item of which `MAX_LOST` creates broke off."""
    return ReplicateError(
        f"{key!r} could not be created: {MAX_LOST} creates broke off, and the list of predictions "
        "shows that none happened. Something in the input may break the API; to try it again, run "
        f"the batch again with the same journal. The last ended with: {last}"
    )


def not_uploaded(key: str, last: AmbiguousCreateError) -> ReplicateError:
    """Return the error of an item of which `MAX_LOST` uploads broke off."""
    return ReplicateError(
        f"{key!r} was not created: {MAX_LOST} uploads of its files broke off. To try it again, "
        f"run the batch again with the same journal. The last ended with: {last}"
    )


def is_of_one_file(error: FileError, folder: Path) -> bool:
    """Whether a file could not be saved in *folder* because of its own name, size or place.

    A full or failing disk is an error of all items.
    """
    if error.errno is None:
        return True
    usable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return usable and error.errno in _OF_ONE_FILE


def is_disk_full(error: Exception) -> bool:
    """Whether the system said that there is no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def prepare_failed(index: int, key: str, prepare: object, error: Exception) -> PrepareError:
    """Return the error of an item for which *prepare* raised *error*."""
    found = PrepareError(
        f"input {index} ({key}): prepare={_name_of(prepare)} raised {type(error).__name__}: "
        f"{error}. Nothing was created for it."
    )
    found.__cause__ = error
    return found


def finish_failed(
    index: int, key: str, finish: object, error: BaseException, prediction: Prediction
) -> ReplicateError:
    """Return the error of an item for whose result *finish* raised *error*."""
    found: ReplicateError
    where, name = f"input {index} ({key})", f"finish={_name_of(finish)}"
    if isinstance(error, OutputExpiredError | OutputRemovedError):
        found = OutputRemovedError(
            f"{where}: the output of prediction {prediction.id} was removed before {name} "
            f"returned: {error}",
            prediction=prediction,
        )
    else:
        cancelled = isinstance(error, asyncio.CancelledError)
        raised = f"{name} raised {type(error).__name__}: {error}"
        found = FinishError(
            f"{where}: {f'the batch ended before {name} returned' if cancelled else raised}. "
            f"Prediction {prediction.id} is recorded if there is a journal: run the batch again "
            "with it to call finish again."
        )
    found.__cause__ = error
    return found


def _name_of(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def unexpected(index: int, key: str, error: Exception, prediction_id: str | None) -> ReplicateError:
    """Return the error of an item whose input or result raised an error of no known kind."""
    where = "" if prediction_id is None else f" Its prediction is {prediction_id}."
    found = ReplicateError(f"input {index} ({key}): {type(error).__name__}: {error}.{where}")
    found.__cause__ = error
    return found


def unexpected_create(key: str, intent_at: float | None, error: Exception) -> AmbiguousCreateError:
    """Return the error of an item whose create raised an error that does not say if it was sent."""
    found = uncertain(key, f"its create raised {type(error).__name__}: {error}", intent_at, None)
    found.__cause__ = error
    return found
