"""The body of an error response."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from replicate_async.core.problem import InvalidField


class Problem(Struct, frozen=True, kw_only=True):
    """A problem document of RFC 9457, with the fields that this API adds."""

    type: str | None = None
    title: str | None = None
    status: int | None = None
    detail: Any = None
    """The explanation: a string, except in answers of containers and proxies."""
    instance: str | None = None
    invalid_fields: list[InvalidField] | None = None
    """The fields that a 422 refuses."""
    retry_after: int | float | None = None
    """Seconds to wait after a 429."""
