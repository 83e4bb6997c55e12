"""The messages of errors for answers with an error status: what happened, and what to do."""

from __future__ import annotations

import re
from typing import Final

from replicate_async.core.problem import Problem

__all__ = ["AMBIGUOUS_ADVICE", "refusal_message"]

AMBIGUOUS_ADVICE: Final = (
    "It may have been created all the same, so it was not sent again: look for it in the listing "
    "before you create another."
)

_ADVICE: Final[dict[int, str]] = {
    401: "Set REPLICATE_API_TOKEN, or pass api_token=, to a token of replicate.com/account.",
    402: "Add credit to the account, or run a model that it covers.",
    403: "Use a token of an account that may do this.",
    404: "Check the name or id, that it belongs to the token's account, and base_url.",
    413: "Send a smaller file, or host it yourself and pass its URL.",
    422: "Correct the input; models.versions.get(...).openapi_schema describes it.",
    429: "Wait, then try again; Limits(...) paces requests on this side.",
}

_NO_URL: Final = "Does not match format 'uri'"
_NO_URL_ADVICE: Final = 'Give the input a URL, or a file of this machine as Path("...").'

_NOT_FOUND: Final = re.compile(r"not (be )?found|no such|^an HTML page", re.IGNORECASE)
"""Matches the text of a 404 that says no more than that."""


def refusal_message(
    problem: Problem, *, operation: str, ambiguous: bool, missing: str | None
) -> str:
    """Return the message for *problem*, which answered *operation*.

    *ambiguous* says that it answers a create which may have happened; *missing* is the thing that a
    404 is about.
    """
    status = problem.status
    said = str(problem).rstrip(".")
    advice = _ADVICE.get(status, "Try again later." if status >= 500 else "")
    if status == 404 and missing is not None:
        if _NOT_FOUND.search(said):
            return f"There is no {missing}, or this token may not see it (404: {said})."
        return f"{said} (404, to a request about the {missing}). {advice}"
    if status == 422 and _NO_URL in said:
        advice = _NO_URL_ADVICE
    advice = AMBIGUOUS_ADVICE if ambiguous else advice
    return f"{operation} answered {status}: {said}. {advice}".rstrip()
