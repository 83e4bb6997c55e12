"""The service's error answers, with its own texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PROBLEM_JSON = "application/problem+json"
JSON = "application/json"


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An answer other than success."""

    def __init__(
        self,
        status: int,
        body: Mapping[str, Any],
        *,
        content_type: str = PROBLEM_JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers: dict[str, str] = dict(headers or {})


def problem(status: int, detail: str, *, title: str | None = None) -> Problem:
    """Return a problem in the service's usual form, the title first where there is one."""
    body: dict[str, Any] = {} if title is None else {"title": title}
    return Problem(status, {**body, "detail": detail, "status": status})


def django(status: int, detail: str, **headers: str) -> Problem:
    """Return a problem as Django REST framework writes it, with the detail alone."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Problem(status, {"detail": detail}, content_type=JSON, headers=fields)


def unauthenticated(*, given: bool) -> Problem:
    """Return the refusal of a request whose token is wrong or missing."""
    detail = "You did not pass a valid authentication token"
    if not given:
        detail = "You did not pass an authentication token"
    return problem(401, detail, title="Unauthenticated")


def not_found() -> Problem:
    """Return the answer for a record that does not exist or is another account's."""
    return problem(404, "The requested resource could not be found.")


def file_not_found() -> Problem:
    """Return the answer for a file that does not exist, has expired or is another account's."""
    return Problem(404, {"detail": "File not found"}, content_type=JSON)


def destination_missing() -> Problem:
    """Return the refusal of a training into a model that does not exist."""
    return problem(404, "The specified training destination does not exist")


def version_refused() -> Problem:
    """Return the refusal to run a version that does not exist or is another account's."""
    return problem(
        422,
        "The specified version does not exist (or perhaps you don't have permission to use it?)",
        title="Invalid version or not permitted",
    )


def insufficient_credit() -> Problem:
    """Return the refusal of a run that the account cannot pay."""
    return problem(
        402,
        "You have insufficient credit to run this model. Go to "
        "https://replicate.com/account/billing#billing to purchase credit. Once you purchase "
        "credit, please wait a few minutes before trying again.",
        title="Insufficient credit",
    )


def throttled(retry_after: int) -> Problem:
    """Return the refusal of a request over the rate limit."""
    return Problem(
        429,
        {
            "detail": f"Request was throttled. Your rate limit resets in ~{retry_after}s.",
            "status": 429,
            "retry_after": retry_after,
        },
        headers={"Retry-After": str(retry_after)},
    )


def invalid(detail: str, fields: Sequence[Any]) -> Problem:
    """Return the refusal of a body or an input that its schema forbids."""
    return Problem(
        422,
        {
            "detail": detail,
            "status": 422,
            "title": "Input validation failed",
            "invalid_fields": [
                {"type": field.type, "field": field.field, "description": field.description}
                for field in fields
            ],
        },
    )
