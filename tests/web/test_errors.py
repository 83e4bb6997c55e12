from __future__ import annotations

import pytest

from replicate_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InvalidArgumentError,
    PredictionCanceled,
    PredictionFailed,
    Problem,
    ReplicateError,
)
from replicate_async.web import error_headers, error_status, public_message
from tests.web.script import prediction


def answered(status: int, retry_after: float | None = None) -> APIStatusError:
    return APIStatusError(
        "POST /v1/predictions answered",
        status=status,
        problem=Problem(status, "", f"detail of {status}"),
        operation="POST /v1/predictions",
        retry_after=retry_after,
    )


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429])
def test_what_is_wrong_with_the_request_goes_on(status: int) -> None:
    assert error_status(answered(status)) == status
    assert public_message(answered(status)) == f"detail of {status}"


@pytest.mark.parametrize("status", [401, 402, 403, 500, 502])
def test_what_is_wrong_with_the_account_or_the_service_does_not(status: int) -> None:
    assert error_status(answered(status)) == 502
    assert "detail" not in public_message(answered(status))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (answered(503), 503),
        (APITimeoutError("late"), 504),
        (APIConnectionError("refused"), 502),
        (InvalidArgumentError("bad"), 400),
    ],
)
def test_other_trouble_has_its_status(error: ReplicateError, status: int) -> None:
    assert error_status(error) == status


def test_a_wait_that_the_api_asks_for_is_passed_on() -> None:
    assert error_headers(answered(429, 1.2))["Retry-After"] == "2"
    assert "Retry-After" not in error_headers(answered(429))


def test_a_run_says_its_own_error() -> None:
    assert (
        public_message(PredictionCanceled("x", prediction=prediction())) == "The run was canceled."
    )
    assert public_message(PredictionFailed("x", prediction=prediction())) == "The model failed."


def test_an_exception_of_the_application_is_not_shown() -> None:
    assert "secret" not in public_message(RuntimeError("secret"))
