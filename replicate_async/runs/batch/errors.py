"""Errors of items, and which errors end the batch."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from replicate_async.core.problem import blames_version
from replicate_async.errors import (
    AmbiguousCreateError,
    APIConnectionError,
    AuthenticationError,
    ClientStateError,
    DecodeError,
    FileError,
    FinishError,
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
    UnprocessableEntityError,
    UntrustedURLError,
)
from replicate_async.runs.batch.inputs import Item
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

    def __init__(self, error: ReplicateError) -> None:
        super().__init__(str(error))
        self.error: ReplicateError = error


def is_transient(error: ReplicateError) -> bool:
    """Whether the API or the limiter was out or busy, so that a later request may succeed."""
    transient = isinstance(error, APIConnectionError | LimiterError | RateLimitError | ServerError)
    return transient and not isinstance(error, TLSError)


def is_fatal(error: ReplicateError) -> bool:
    """Whether every other create would fail in the same way."""
    of_all = isinstance(error, PaymentRequiredError | PermissionDeniedError | JournalError)
    # A 422 may be about the version and not about the input.
    of_version = isinstance(error, UnprocessableEntityError) and blames_version(error.problem)
    return of_all or of_version or ends_every_wait(error)


def ends_every_wait(error: ReplicateError) -> bool:
    """Whether the error of one wait would end all others: all polls have been refused for long.

    A 402, 403 or 404 may be about one prediction: it is the error of its item.
    """
    return isinstance(
        error,
        AuthenticationError | TLSError | RedirectError | UntrustedURLError | ClientStateError,
    )


def uncertain(item: Item, reason: str, cause: AmbiguousCreateError | None) -> AmbiguousCreateError:
    """Return the error of an item whose prediction may or may not have been created."""
    sent_at = datetime.fromtimestamp(item.entry.intent_at or 0.0, UTC)
    ended = f" The create ended with: {cause}" if cause is not None else ""
    error = AmbiguousCreateError(
        f"A prediction for {item.key!r} may have been created after {sent_at:%Y-%m-%d %H:%M:%S} "
        f"UTC: {reason}. It was not created again. Run the batch again with the same journal to "
        "look once more, or look for it on the website and record what you found: "
        f"'replicate-async batch resolve JOURNAL KEY --prediction ID', or --absent.{ended}"
    )
    error.sent_at = sent_at
    return error


def broke_off(item: Item, what: str, last: AmbiguousCreateError) -> ReplicateError:
    """Return the error of an item of which `MAX_LOST` creates or uploads broke off."""
    return ReplicateError(
        f"{item.key!r} could not be created: {MAX_LOST} {what} broke off. Something in the "
        "input may break the API; to try it again, run the batch again with the same journal. The "
        f"last ended with: {last}"
    )


def was_cancelled(item: Item) -> ReplicateError:
    """Return the error of an item whose create was cancelled before it was sent, by other code."""
    return ReplicateError(
        f"{item.key!r} was not created: other code, such as a limiter or a session of yours, "
        "cancelled its create before it was sent. See what cancels it, and run the batch again."
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


def prepare_failed(item: Item, prepare: object, error: Exception) -> ReplicateError:
    """Return the error of an item for which *prepare* raised *error*."""
    said = f"prepare={_name_of(prepare)} raised {type(error).__name__}: {error}."
    return _caused(PrepareError(f"{_place(item)}: {said} Nothing was created for it."), error)


def finish_failed(
    item: Item, finish: object, error: BaseException, prediction: Prediction
) -> ReplicateError:
    """Return the error of an item for whose result *finish* raised *error*."""
    where, name = _place(item), f"finish={_name_of(finish)}"
    if isinstance(error, OutputExpiredError | OutputRemovedError):
        removed = f"the output of prediction {prediction.id} was removed before {name} returned"
        message = f"{where}: {removed}: {error}"
        return _caused(OutputRemovedError(message, prediction=prediction), error)
    said = f"{name} raised {type(error).__name__}: {error}"
    if isinstance(error, asyncio.CancelledError):
        said = f"the batch ended before {name} returned"
    found = FinishError(
        f"{where}: {said}. Prediction {prediction.id} is recorded if there is a journal: run the "
        "batch again with it to call finish again."
    )
    return _caused(found, error)


def undecodable(prediction: Prediction, error: Exception) -> ReplicateError:
    """Return the error of a *prediction* whose output could not be decoded."""
    if isinstance(error, ReplicateError):
        return error
    is_invalid = isinstance(error, msgspec.ValidationError)
    said = str(error) if is_invalid else f"{type(error).__name__}: {error}"
    found = DecodeError(f"{prediction.id}: {said}")
    found.prediction = prediction
    return found


def unexpected(item: Item, error: Exception) -> ReplicateError:
    """Return the error of an item that raised *error*, of no kind that others would meet."""
    if item.entry.is_open:  # it is not known whether the create was sent
        reason = f"its create raised {type(error).__name__}: {error}"
        return _caused(uncertain(item, reason, None), error)
    created = item.entry.prediction_id
    where = "" if created is None else f" Its prediction is {created}."
    found = ReplicateError(f"{_place(item)}: {type(error).__name__}: {error}.{where}")
    return _caused(found, error)


def _place(item: Item) -> str:
    return f"input {item.index} ({item.key})"


def _name_of(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _caused(found: ReplicateError, error: BaseException) -> ReplicateError:
    found.__cause__ = error
    return found
