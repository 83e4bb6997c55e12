"""The errors: their tree, their words, and that they survive being sent elsewhere."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import msgspec
import pytest

from replicate_async import Prediction, errors
from replicate_async.core.problem import Problem, parse
from replicate_async.errors import (
    AmbiguousConflictError,
    AmbiguousConnectionError,
    AmbiguousCreateError,
    AmbiguousDecodeError,
    AmbiguousRedirectError,
    AmbiguousServerError,
    AmbiguousStatusError,
    AmbiguousTimeoutError,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ClientStateError,
    ConflictError,
    ContentTooLargeError,
    DecodeError,
    FileError,
    FileTooLargeError,
    FinishError,
    InvalidArgumentError,
    InvalidInputError,
    JournalDamagedError,
    JournalError,
    JournalLockedError,
    JournalLostError,
    JournalMismatchError,
    JournalTooNewError,
    JournalWriteError,
    LimiterError,
    NotFoundError,
    OutputExpiredError,
    OutputRemovedError,
    PaginationLoopError,
    PaymentRequiredError,
    PermissionDeniedError,
    PredictionAborted,
    PredictionCanceled,
    PredictionError,
    PredictionFailed,
    PredictionGone,
    PrepareError,
    RateLimitError,
    RedirectError,
    ReplicateError,
    ServerError,
    StreamError,
    StreamIncompleteError,
    StreamLimitError,
    StreamResponseError,
    StreamRestartedError,
    TargetExistsError,
    TLSError,
    TruncatedBodyError,
    UnprocessableEntityError,
    UntrustedURLError,
    WaitError,
    WaitTimeout,
    WebhookVerificationError,
    ambiguous_connection_error,
    prediction_error,
    status_error,
)
from tests.support.replies import prediction

PROBLEM_JSON: Final = "application/problem+json"
AMBIGUOUS: Final = (
    "It may have been created all the same, so it was not sent again: look for it in the listing "
    "before you create another."
)

# Status, body, class, message; the last field says that it answers a create.
MESSAGES: Final[list[tuple[int, bytes, type[APIStatusError], str, bool]]] = [
    (400, b'{"detail":"Bad."}', BadRequestError, "GET /x answered 400: Bad.", False),
    (
        401,
        b'{"title":"Unauthenticated","detail":"No valid token","status":401}',
        AuthenticationError,
        (
            "GET /x answered 401: Unauthenticated: No valid token. Set REPLICATE_API_TOKEN, or "
            "pass api_token=, to a token of replicate.com/account."
        ),
        False,
    ),
    (
        402,
        b'{"detail":"You have insufficient credit."}',
        PaymentRequiredError,
        (
            "GET /x answered 402: You have insufficient credit. Add credit to the account, or run "
            "a model that it covers."
        ),
        False,
    ),
    (
        403,
        b'{"detail":"Not yours"}',
        PermissionDeniedError,
        "GET /x answered 403: Not yours. Use a token of an account that may do this.",
        False,
    ),
    (
        404,
        b'{"detail":"The requested resource could not be found.","status":404}',
        NotFoundError,
        (
            "GET /x answered 404: The requested resource could not be found. Check the name or id, "
            "that it belongs to the token's account, and base_url."
        ),
        False,
    ),
    (405, b'{"detail":"No"}', APIStatusError, "GET /x answered 405: No.", False),
    (409, b'{"detail":"Taken"}', ConflictError, "GET /x answered 409: Taken.", False),
    (
        413,
        b'{"detail":"Files must be less than 100MB in size"}',
        ContentTooLargeError,
        (
            "GET /x answered 413: Files must be less than 100MB in size. Send a smaller file, or "
            "host it yourself and pass its URL."
        ),
        False,
    ),
    (
        422,
        (
            b'{"detail":"- input: prompt is required\\n","status":422,"title":"Input validation '
            b'failed","invalid_fields":[{"type":"required","field":"input","description":"prompt '
            b'is required"}]}'
        ),
        UnprocessableEntityError,
        (
            "GET /x answered 422: Input validation failed: input: prompt is required. Correct the "
            "input; models.versions.get(...).openapi_schema describes it."
        ),
        False,
    ),
    (
        422,
        b'{"detail":"- input.image: Does not match format \'uri\'","status":422,"title":"Invalid"}',
        UnprocessableEntityError,
        (
            "GET /x answered 422: Invalid: input.image: Does not match format 'uri'. Give the "
            'input a URL, or a file of this machine as Path("...").'
        ),
        False,
    ),
    (
        429,
        b'{"detail":"Request was throttled. Your rate limit resets in ~30s."}',
        RateLimitError,
        (
            "GET /x answered 429: Request was throttled. Your rate limit resets in ~30s. Wait, "
            "then try again; Limits(...) paces requests on this side."
        ),
        False,
    ),
    (
        500,
        b"",
        ServerError,
        "GET /x answered 500: Internal Server Error (the answer has no body). Try again later.",
        False,
    ),
    (
        502,
        b"<html><head><title>502 Bad Gateway</title></head></html>",
        ServerError,
        "GET /x answered 502: an HTML page titled '502 Bad Gateway'. Try again later.",
        False,
    ),
    (500, b'{"detail":"Oh"}', AmbiguousServerError, f"GET /x answered 500: Oh. {AMBIGUOUS}", True),
    (
        409,
        b'{"detail":"Oh"}',
        AmbiguousConflictError,
        f"GET /x answered 409: Oh. {AMBIGUOUS}",
        True,
    ),
    (408, b'{"detail":"Oh"}', AmbiguousStatusError, f"GET /x answered 408: Oh. {AMBIGUOUS}", True),
]


@pytest.mark.parametrize(
    ("status", "body", "cls", "message", "ambiguous"),
    MESSAGES,
    ids=[f"{status} {cls.__name__} {len(body)}" for status, body, cls, _, _ in MESSAGES],
)
def test_an_error_status_says_what_came_and_what_to_do(
    status: int, body: bytes, cls: type[APIStatusError], message: str, ambiguous: bool
) -> None:
    problem = parse(status, PROBLEM_JSON, body)

    error = status_error(problem, operation="GET /x", retry_after=None, ambiguous=ambiguous)

    assert type(error) is cls
    assert str(error) == message
    assert (error.status, error.operation) == (status, "GET /x")
    assert error.detail == problem.detail
    assert error.invalid_fields == problem.invalid_fields


def test_a_lost_answer_to_a_create_says_what_to_look_for() -> None:
    lost = ambiguous_connection_error(APIConnectionError("It broke."), "POST /x")
    late = ambiguous_connection_error(APITimeoutError("Too late."), "POST /x")

    assert type(lost) is AmbiguousConnectionError
    assert type(late) is AmbiguousTimeoutError
    assert str(lost) == f"POST /x: It broke. {AMBIGUOUS}"
    assert isinstance(late, APITimeoutError)
    assert late.phase == "ambiguous"
    assert late.may_have_been_created


@pytest.mark.parametrize(
    ("status", "error", "cls", "message"),
    [
        ("failed", "it broke", PredictionFailed, "ended as failed: it broke"),
        ("failed", "", PredictionFailed, "ended as failed"),
        ("canceled", None, PredictionCanceled, "was canceled"),
        (
            "aborted",
            None,
            PredictionAborted,
            "was aborted: its deadline passed before it began",
        ),
        ("exploded", None, PredictionFailed, "ended as exploded"),
    ],
)
def test_a_run_without_success_says_how_it_ended(
    status: str, error: str | None, cls: type[PredictionError], message: str
) -> None:
    run = snapshot(status=status, error=error)

    raised = prediction_error(run)

    assert type(raised) is cls
    assert str(raised) == f"prediction {run.id} of replicate/hello-world {message}"
    assert raised.prediction is run


def snapshot(**changes: object) -> Prediction:
    body = prediction("https://api.replicate.com/v1", status="failed") | changes
    return msgspec.convert(body, Prediction)


def a_problem() -> Problem:
    body = b'{"detail":"No","invalid_fields":[{"field":"a","type":"b","description":"c"}]}'
    return parse(422, PROBLEM_JSON, body)


def every_error() -> Iterator[ReplicateError]:
    """Make one error of each class."""
    for plain in (
        ReplicateError,
        InvalidArgumentError,
        ClientStateError,
        AmbiguousCreateError,
        PaginationLoopError,
        JournalDamagedError,
        JournalError,
        JournalLockedError,
        JournalLostError,
        JournalMismatchError,
        JournalTooNewError,
        JournalWriteError,
        LimiterError,
    ):
        yield plain("Message.")
    for lost in (
        APIConnectionError,
        APITimeoutError,
        TLSError,
        TruncatedBodyError,
        AmbiguousConnectionError,
        AmbiguousTimeoutError,
    ):
        yield lost("Message.", phase="not_sent")
    for refused in (
        APIStatusError,
        BadRequestError,
        AuthenticationError,
        PaymentRequiredError,
        PermissionDeniedError,
        NotFoundError,
        ConflictError,
        ContentTooLargeError,
        UnprocessableEntityError,
        RateLimitError,
        ServerError,
        AmbiguousStatusError,
        AmbiguousConflictError,
        AmbiguousServerError,
    ):
        yield refused(
            "Message.", status=422, problem=a_problem(), operation="GET /x", retry_after=1.5
        )
    yield InvalidInputError("Message.", invalid_fields=a_problem().invalid_fields)
    for odd in (DecodeError, AmbiguousDecodeError):
        yield odd("Message.", status=200, content_type="text/html", snippet="<p>")
    yield UntrustedURLError("Message.", url="https://example.com")
    for led in (RedirectError, AmbiguousRedirectError):
        yield led("Message.", status=302, location="https://example.com")
    for ended in (
        PredictionError,
        PredictionFailed,
        PredictionCanceled,
        PredictionAborted,
        OutputRemovedError,
    ):
        yield ended("Message.", prediction=snapshot())
    for waited in (WaitError, WaitTimeout, PredictionGone):
        yield waited("Message.", last=snapshot())
    for broken in (StreamError, StreamLimitError, StreamIncompleteError, StreamRestartedError):
        yield broken("Message.", text="Once upon")
    response = StreamResponseError("Message.", status=404, content_type="text/html")
    response.text = "Once upon"
    yield response
    for unsaved in (FileError, TargetExistsError, FileTooLargeError, OutputExpiredError):
        yield unsaved("Message.", path=Path("a.png"))
    yield PrepareError("Message.")
    yield FinishError("Message.")
    yield WebhookVerificationError("Message.", reason="InvalidSignature")


TWINS: Final[dict[str, Callable[[ReplicateError], ReplicateError]]] = {
    "pickle": lambda error: cast("ReplicateError", pickle.loads(pickle.dumps(error))),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
EVERY: Final = {type(error).__name__: error for error in every_error()}


def classes_below(root: type[ReplicateError]) -> Iterator[type[ReplicateError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes_below(child)


def test_every_class_is_tried() -> None:
    assert EVERY.keys() == {cls.__name__ for cls in classes_below(ReplicateError)}


@pytest.mark.parametrize("twin", TWINS)
def test_an_error_survives_being_sent_elsewhere(twin: str) -> None:
    for error in EVERY.values():
        error.add_note("seen on Monday")
        if isinstance(error, AmbiguousCreateError):
            error.sent_at = datetime(2026, 1, 1, tzinfo=UTC)

        again = TWINS[twin](error)

        assert type(again) is type(error)
        assert (str(again), again.args) == ("Message.", error.args)
        assert vars(again) == vars(error)
        assert again.__notes__ == error.__notes__


def drawn_tree() -> Iterator[tuple[str, str]]:
    """Read (class, parent) from the module's docstring."""
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    (?P<lead>[│├└─ ]*)(?P<name>[A-Z]\w+)( {2,}.*)?$", line)
        if found is not None:
            depth = len(found["lead"]) // 4
            del path[depth:]
            if path:
                yield found["name"], path[-1]
            path.append(found["name"])


def test_the_tree_is_as_it_is_drawn() -> None:
    drawn = dict(drawn_tree())

    assert len(drawn) > 40
    for cls in set(classes_below(ReplicateError)):
        if cls is not ReplicateError:
            assert cls.__bases__[0].__name__ == drawn.pop(cls.__name__)
    assert drawn == {}


@pytest.mark.parametrize("line", sorted(set(re.findall(r"an? (\w+) too", errors.__doc__ or ""))))
def test_second_parents_are_as_they_are_drawn(line: str) -> None:
    drawn = re.search(rf"(\w+) +[^\n]*an? {line} too", errors.__doc__ or "")

    assert drawn is not None
    names = {base.__name__ for base in getattr(errors, drawn[1]).__mro__}
    assert line in names
