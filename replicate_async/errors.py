"""The errors of the package, as a tree.

    ReplicateError
    ├── InvalidArgumentError            an argument is wrong; nothing was sent (a ValueError too)
    │   └── InvalidInputError           an input that a typed model does not take
    ├── ClientStateError                closed client, wrong thread or loop (a RuntimeError too)
    ├── APIConnectionError              no answer: refused, reset, DNS
    │   ├── APITimeoutError             no answer in time
    │   ├── TLSError                    the certificate or the handshake is wrong
    │   └── TruncatedBodyError          the answer broke off
    ├── APIStatusError                  the API answered with an error status
    │   ├── BadRequestError             400
    │   ├── AuthenticationError         401
    │   ├── PaymentRequiredError        402
    │   ├── PermissionDeniedError       403
    │   ├── NotFoundError               404
    │   ├── ConflictError               409
    │   ├── ContentTooLargeError        413
    │   ├── UnprocessableEntityError    422, with ``invalid_fields``
    │   ├── RateLimitError              429, with ``retry_after``
    │   └── ServerError                 5xx
    ├── AmbiguousCreateError            a create that may or may not have happened
    │   ├── AmbiguousConnectionError    an APIConnectionError too: the answer was lost
    │   ├── AmbiguousTimeoutError       an APITimeoutError too: no answer in time
    │   ├── AmbiguousConflictError      a ConflictError too: 409
    │   ├── AmbiguousServerError        a ServerError too: 5xx
    │   ├── AmbiguousStatusError        an APIStatusError too: 408
    │   ├── AmbiguousDecodeError        a DecodeError too: accepted, and the answer is unreadable
    │   └── AmbiguousRedirectError      a RedirectError too: perhaps done, then redirected
    ├── DecodeError                     the answer is not what the API documents
    ├── UntrustedURLError               a URL that must not see the token; nothing was sent
    ├── RedirectError                   a redirect that must not be followed
    ├── PaginationLoopError             a listing whose next page was read already
    ├── PredictionError                 a run that has no output to give, with ``prediction``
    │   ├── PredictionFailed
    │   ├── PredictionCanceled
    │   ├── PredictionAborted
    │   └── OutputRemovedError          it succeeded, and the output is gone
    ├── WaitError                       waiting ended before the run did
    │   ├── WaitTimeout
    │   └── PredictionGone
    ├── StreamError                     a stream that cannot be read on
    │   ├── StreamResponseError         wrong status or media type
    │   ├── StreamLimitError            an event larger than the limit
    │   ├── StreamIncompleteError       ended without ``done``
    │   └── StreamRestartedError        began again where it should have gone on
    ├── FileError                       a file that cannot be read or saved, with ``path``
    │   ├── TargetExistsError           there is one of that name already
    │   ├── FileTooLargeError           it is larger than was allowed
    │   └── OutputExpiredError          the output is not there any more
    ├── JournalError                    a batch's journal that cannot be used
    │   ├── JournalLockedError          another run has it open
    │   ├── JournalMismatchError        it belongs to another run
    │   ├── JournalTooNewError          a newer version of this package made it
    │   ├── JournalDamagedError         it is damaged, or no journal
    │   ├── JournalLostError            it was deleted or replaced while a batch used it
    │   └── JournalWriteError           the disk is full or fails
    ├── PrepareError                    a batch's ``prepare`` failed; nothing was created
    ├── FinishError                     a batch's ``finish`` failed; the prediction is recorded
    ├── LimiterError                    no permit from a shared limiter
    └── WebhookVerificationError        a webhook request whose signature is wrong

Every error survives pickling, and none holds the API token.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from replicate_async.core.refusals import AMBIGUOUS_ADVICE, refusal_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from replicate_async.core.problem import InvalidField, Problem
    from replicate_async.core.retry import Phase
    from replicate_async.schemas import Prediction, Training


Bound: TypeAlias = Literal["timeout", "queue_timeout"]
"""Which of its two bounds ended a wait."""


class ReplicateError(Exception):
    """The base class of all errors of this package."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        # The default would call the class with its message alone, and lose the other attributes.
        return _restore, (type(self), self.args), self.__dict__.copy()


def _restore(cls: type[ReplicateError], args: tuple[object, ...]) -> ReplicateError:
    return cls.__new__(cls, *args)


class RequestDetails:
    """What errors of a request know of it.

    ``attempts`` is how often it was sent, ``headers`` those of the last answer (names in lower
    case), and ``request_id`` the service's id of it, where there was an answer.
    """

    attempts: int = 1
    headers: Mapping[str, str] = MappingProxyType({})
    request_id: str | None = None


class InvalidArgumentError(ReplicateError, ValueError):
    """An argument is wrong; nothing was sent."""


class InvalidInputError(InvalidArgumentError):
    """An input does not fit the model's schema; nothing was sent.

    ``invalid_fields`` has the fields that the API's own 422 names, and before them the names that
    the model does not have, which the API ignores.
    """

    def __init__(self, message: str, *, invalid_fields: tuple[InvalidField, ...]) -> None:
        super().__init__(message)
        self.invalid_fields: tuple[InvalidField, ...] = invalid_fields


class ClientStateError(ReplicateError, RuntimeError):
    """The client or another object is closed, or is used in a second event loop or out of order."""


class APIConnectionError(ReplicateError, RequestDetails):
    """No answer came: the connection was refused, reset or closed, or the host is unknown.

    ``phase`` is "not_sent" if the request cannot have reached the API, else "ambiguous".
    ``prediction`` is the last state of the run if this error ended a wait, which did not cancel
    the run.
    """

    prediction: Prediction | Training | None = None

    def __init__(self, message: str, *, phase: Phase = "ambiguous") -> None:
        super().__init__(message)
        self.phase: Phase = phase


class APITimeoutError(APIConnectionError):
    """No answer came in time; ``Replicate(timeout=...)`` sets the timeouts."""


class TLSError(APIConnectionError):
    """The server's certificate or the TLS handshake is wrong; such a request is not repeated."""


class TruncatedBodyError(APIConnectionError):
    """The answer broke off before its end, or is no well-formed HTTP."""


class APIStatusError(ReplicateError, RequestDetails):
    """The API answered with an error status.

    ``status`` is the HTTP status, ``problem`` the content of the body, ``operation`` method and
    path template, ``retry_after`` the seconds that the API asks to wait, if it does.
    ``prediction`` is the last state of the run if this error ended a wait, which did not cancel
    the run.
    """

    prediction: Prediction | Training | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int,
        problem: Problem,
        operation: str,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.operation = operation
        self.retry_after = retry_after

    @property
    def detail(self) -> str:
        """The explanation of the API, in one line."""
        return self.problem.detail

    @property
    def invalid_fields(self) -> Sequence[InvalidField]:
        """The fields that a 422 names; empty for other statuses."""
        return self.problem.invalid_fields


class BadRequestError(APIStatusError):
    """400: the API cannot read the request."""


class AuthenticationError(APIStatusError):
    """401: the token is missing or wrong; set REPLICATE_API_TOKEN or pass ``api_token=``."""


class PaymentRequiredError(APIStatusError):
    """402: the account has no credit for this model."""


class PermissionDeniedError(APIStatusError):
    """403: the token's account may not do this."""


class NotFoundError(APIStatusError):
    """404: it does not exist, or belongs to another account."""


class ConflictError(APIStatusError):
    """409: the request contradicts the present state; a name may be taken."""


class ContentTooLargeError(APIStatusError):
    """413: the upload is larger than the API takes (100 MB for files)."""


class UnprocessableEntityError(APIStatusError):
    """422: the input does not fit the model; ``invalid_fields`` says where."""


class RateLimitError(APIStatusError):
    """429: too many requests; ``retry_after`` is the wait in seconds, if the API names one."""


class ServerError(APIStatusError):
    """5xx: the API, or a proxy before it, failed."""


class AmbiguousCreateError(ReplicateError):
    """A create that may or may not have happened; it was not sent again.

    The API has no idempotency key: a second create could start, and bill, a second run. Look for
    the first with ``predictions.list(created_after=error.sent_at)`` before you create again.
    ``sent_at`` is when the create was sent.
    """

    may_have_been_created = True
    sent_at: datetime | None = None


class AmbiguousConnectionError(AmbiguousCreateError, APIConnectionError):
    """The connection broke after a create was sent."""


class AmbiguousTimeoutError(AmbiguousCreateError, APITimeoutError):
    """No answer to a create came in time."""


class AmbiguousStatusError(AmbiguousCreateError, APIStatusError):
    """408: a proxy ended a create that may have happened."""


class AmbiguousConflictError(AmbiguousCreateError, ConflictError):
    """409 to a create: it may exist, perhaps because of this request."""


class AmbiguousServerError(AmbiguousCreateError, ServerError):
    """5xx to a create: it may have happened before the failure."""


class DecodeError(ReplicateError, RequestDetails):
    """The answer is not what the API documents: HTML from a proxy, broken JSON, a missing id.

    ``status``, ``content_type`` and ``snippet`` (its first 200 characters) show the answer;
    ``prediction`` is set if its output cannot be decoded, or its id cannot stand in a URL.
    """

    prediction: Prediction | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        content_type: str | None = None,
        snippet: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.content_type = content_type
        self.snippet = snippet


class AmbiguousDecodeError(AmbiguousCreateError, DecodeError):
    """A create that was accepted, with an answer that cannot be read or an unusable id."""


class UntrustedURLError(ReplicateError):
    """A URL that must not be requested, or must not get the token; nothing was sent.

    ``url`` is the URL as it was given.
    """

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class RedirectError(ReplicateError, RequestDetails):
    """A redirect that was not followed: to another origin, of a request with a body, or a loop.

    ``prediction`` is the last state of the run if this error ended a wait.
    """

    prediction: Prediction | Training | None = None

    def __init__(self, message: str, *, status: int, location: str) -> None:
        super().__init__(message)
        self.status = status
        self.location = location


class AmbiguousRedirectError(AmbiguousCreateError, RedirectError):
    """A create answered with a redirect that may mean that it was done."""


class PaginationLoopError(ReplicateError):
    """A listing whose ``next`` is a page that was read already."""


class PredictionError(ReplicateError):
    """A run without an output; ``prediction`` is its last state.

    ``earlier`` has the failed predictions that were repeated before it, with ``run(retries=...)``.
    """

    earlier: tuple[Prediction, ...] = ()

    def __init__(self, message: str, *, prediction: Prediction) -> None:
        super().__init__(message)
        self.prediction = prediction


class PredictionFailed(PredictionError):  # noqa: N818 - a name of the contract
    """The model failed; ``prediction.error`` and ``prediction.logs`` say why."""


class PredictionCanceled(PredictionError):  # noqa: N818 - a name of the contract
    """The run was canceled, by a request or by its deadline."""


class PredictionAborted(PredictionError):  # noqa: N818 - a name of the contract
    """The deadline passed before the run started; it is not billed."""


class OutputRemovedError(PredictionError):
    """The run succeeded, but the API has removed its output, an hour after the end."""


class WaitError(ReplicateError):
    """Waiting ended before the run did; ``prediction``, or ``last``, is the state seen last."""

    def __init__(self, message: str, *, last: Prediction | Training | None) -> None:
        super().__init__(message)
        self.last: Prediction | Training | None = last

    @property
    def prediction(self) -> Prediction | Training | None:
        """The run as it was last seen."""
        return self.last


class WaitTimeout(WaitError):  # noqa: N818 - reads like asyncio's own names
    """The run did not end in time; a wait may be taken up again, ``run`` cancels the run.

    ``bound`` says which argument set the time: "timeout" for the work, "queue_timeout" for the
    time before it; ``seconds`` is its value. ``poll_error`` is what the last poll failed with, and
    empty if it was answered.
    """

    def __init__(
        self,
        message: str,
        *,
        last: Prediction | Training | None,
        bound: Bound = "timeout",
        seconds: float = 0.0,
        poll_error: str = "",
    ) -> None:
        super().__init__(message, last=last)
        self.bound: Bound = bound
        self.seconds: float = seconds
        self.poll_error: str = poll_error


class PredictionGone(WaitError):  # noqa: N818 - reads like the status 410
    """The run was there, and no poll has found it for 30 seconds: it was deleted meanwhile."""


class StreamError(ReplicateError):
    """A stream that cannot be read on.

    ``text`` is the output that had arrived; of a long one, the last 262,144 characters at least.
    ``received`` is how many characters had arrived in all, so ``text`` is whole if it has as many.
    ``prediction`` is the last state of the run, which goes on.
    """

    prediction: Prediction | None = None

    def __init__(self, message: str, *, text: str = "", received: int | None = None) -> None:
        super().__init__(message)
        self.text: str = text
        self.received: int = len(text) if received is None else received


class StreamResponseError(StreamError):
    """The stream's URL answered with another status or media type than a stream has."""

    def __init__(self, message: str, *, status: int, content_type: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.content_type = content_type


class StreamLimitError(StreamError):
    """An event larger than the limit (16 MiB unless set)."""


class StreamIncompleteError(StreamError):
    """The stream ended without ``done`` and the run has no end either."""


class StreamRestartedError(StreamError):
    """The stream began again without ids, so what was read already cannot be told apart."""


class FileError(ReplicateError):
    """A file that cannot be read or saved; ``path`` is where it was to be, if it was to be saved.

    ``errno`` is the number of the system's error when it was the disk, and None otherwise.
    A full disk, a folder that is not there or not writable, a symbolic link in the way, a data URL
    that is none, a host that answers with an error. Nothing half-written is left.
    """

    def __init__(self, message: str, *, path: Path | None = None, errno: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.errno = errno


class TargetExistsError(FileError):
    """A file of that name is there already; it was not touched."""


class FileTooLargeError(FileError):
    """A file larger than was allowed, or one that decompresses without end."""


class OutputExpiredError(FileError):
    """The host has the output no more, and the prediction names no other place for it."""


class JournalError(ReplicateError):
    """A batch's journal that cannot be used; the message says why and what to do."""


class JournalLockedError(JournalError):
    """Another run has the journal open."""


class JournalMismatchError(JournalError):
    """The journal belongs to another model, version or options, or knows a key's other input."""


class JournalTooNewError(JournalError):
    """A newer version of this package made the journal."""


class JournalDamagedError(JournalError):
    """The file is damaged, or no journal."""


class JournalLostError(JournalError):
    """The journal or its lock was deleted, moved, replaced or cut while a batch used it."""


class JournalWriteError(JournalError):
    """The journal cannot be written: the disk is full, or fails; nothing more is accepted."""


class PrepareError(ReplicateError):
    """The ``prepare`` of a batch failed for an item; ``__cause__`` is its error."""


class FinishError(ReplicateError):
    """The ``finish`` of a batch failed for an item; ``__cause__`` is its error."""


class LimiterError(ReplicateError):
    """A shared limiter gave no permit; nothing was sent."""


class WebhookVerificationError(ReplicateError):
    """A webhook request whose signature is wrong; answer it with 400.

    ``reason`` names the check that failed: "InvalidSecret", "MissingHeader", "InvalidTimestamp" or
    "InvalidSignature".
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: ContentTooLargeError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def status_error(
    problem: Problem,
    *,
    operation: str,
    retry_after: float | None,
    ambiguous: bool = False,
    missing: str | None = None,
    hint: str = "",
) -> APIStatusError:
    """Return the error for an answer with an error status.

    *ambiguous* says that it answers a create which may have happened; *missing* is the thing that a
    404 is about. *hint* ends the message.
    """
    status = problem.status
    cls = _BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)
    if ambiguous:
        cls = _AMBIGUOUS.get(cls, AmbiguousStatusError)
    message = refusal_message(problem, operation=operation, ambiguous=ambiguous, missing=missing)
    return cls(
        f"{message}{hint}",
        status=status,
        problem=problem,
        operation=operation,
        retry_after=retry_after,
    )


def ambiguous_connection_error(error: APIConnectionError, operation: str) -> AmbiguousCreateError:
    """Return the error for a create *operation* whose answer *error* kept away."""
    timed_out = isinstance(error, APITimeoutError)
    cls = AmbiguousTimeoutError if timed_out else AmbiguousConnectionError
    said = str(error).replace("; try again.", ".")  # not a create
    return cls(f"{operation}: {said} {AMBIGUOUS_ADVICE}")


_AMBIGUOUS: dict[type[APIStatusError], type[APIStatusError]] = {
    ConflictError: AmbiguousConflictError,
    ServerError: AmbiguousServerError,
}


def prediction_error(prediction: Prediction) -> PredictionError:
    """Return the error for a *prediction* that ended without success."""
    model = f" of {prediction.model}" if prediction.model else ""
    said = f": {prediction.error}" if prediction.error else ""
    cls: type[PredictionError] = PredictionFailed
    what = f"ended as {prediction.status}"
    if prediction.status == "canceled":
        cls, what = PredictionCanceled, "was canceled"
    elif prediction.status == "aborted":
        cls, what = PredictionAborted, "was aborted: its deadline passed before it began"
    return cls(f"prediction {prediction.id}{model} {what}{said}", prediction=prediction)
