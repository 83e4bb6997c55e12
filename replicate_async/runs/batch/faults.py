"""What a failure means for an item, and for the batch."""

from __future__ import annotations

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
    InvalidArgumentError,
    JournalError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RedirectError,
    ReplicateError,
    ServerError,
    TLSError,
    UntrustedURLError,
)
from replicate_async.runs.batch.reconcile import Undecided

MOST_LOST: Final = 5
"""Creates of one item that may break off without effect before it is given up."""


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
"""What a file may be refused for in a folder that takes others."""


def is_passing(error: ReplicateError) -> bool:
    """Whether the API was out or busy, and the same may work a little later."""
    passing = isinstance(error, APIConnectionError | RateLimitError | ServerError)
    return passing and not isinstance(error, TLSError)


def hits_all(error: ReplicateError) -> bool:
    """Whether every other request would fail in the same way."""
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
    """Whether what ended one wait would end all the others: the polls have been refused for long.

    A 402, 403 or 404 may be about one prediction, whose result it is then.
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
    key: str, verdict: Undecided, intent_at: float, cause: AmbiguousCreateError | None
) -> AmbiguousCreateError:
    """Return the error of an item of which nobody can tell whether it was created."""
    sent_at = datetime.fromtimestamp(intent_at, UTC)
    said = f" The create ended with: {cause}" if cause is not None else ""
    error = AmbiguousCreateError(
        f"A prediction for {key!r} may have been created after {sent_at:%Y-%m-%d %H:%M:%S} "
        f"UTC, and nobody can tell: {verdict.reason}. It was not created again. Run the batch "
        "again with the same journal to look once more, or look for it on the website and record "
        "what you found: 'replicate-async batch resolve JOURNAL KEY --prediction ID', or --absent."
        f"{said}"
    )
    error.sent_at = sent_at
    return error


def given_up(key: str, last: AmbiguousCreateError) -> ReplicateError:
    """Return the error of an item whose creates broke off again and again."""
    return ReplicateError(
        f"{key!r} could not be created: {MOST_LOST} creates broke off, and the list of predictions "
        "shows that none happened. Something in the input may break the API; to try it again, run "
        f"the batch again with the same journal. The last ended with: {last}"
    )


def not_uploaded(key: str, last: AmbiguousCreateError) -> ReplicateError:
    """Return the error of an item whose files could not be uploaded."""
    return ReplicateError(
        f"{key!r} was not created: {MOST_LOST} uploads of its files broke off. To try it again, "
        f"run the batch again with the same journal. The last ended with: {last}"
    )


def is_of_one_file(error: FileError, folder: Path) -> bool:
    """Whether a file could not be saved in *folder* because of its own name, size or place.

    The others can be saved then. A disk that is full or fails is the error of all.
    """
    if error.errno is None:
        return True
    usable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return usable and error.errno in _OF_ONE_FILE


def is_disk_full(error: Exception) -> bool:
    """Whether the system said that there is no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def odd_item(index: int, key: str, error: Exception, prediction_id: str | None) -> ReplicateError:
    """Return the error of an item whose input or result raised what nothing accounts for."""
    where = "" if prediction_id is None else f" Its prediction is {prediction_id}."
    found = ReplicateError(f"input {index} ({key}): {type(error).__name__}: {error}.{where}")
    found.__cause__ = error
    return found


def odd_create(key: str, intent_at: float, error: Exception) -> AmbiguousCreateError:
    """Return the error of an item whose create raised what does not say if it was sent."""
    sent_at = datetime.fromtimestamp(intent_at, UTC)
    found = AmbiguousCreateError(
        f"A prediction for {key!r} may have been created after {sent_at:%Y-%m-%d %H:%M:%S} UTC: "
        f"its create ended with {type(error).__name__}: {error}. It was not created again; look "
        "for it in the list of predictions."
    )
    found.sent_at = sent_at
    found.__cause__ = error
    return found
