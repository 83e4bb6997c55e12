"""The body of an answer that says no."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from replicate_async.core.problem import InvalidField


class Problem(Struct, frozen=True, kw_only=True):
    """A problem body of RFC 9457, with what this API adds to it."""

    type: str | None = None
    title: str | None = None
    status: int | None = None
    detail: Any = None
    """What is wrong: a string, except in answers of containers and proxies."""
    instance: str | None = None
    invalid_fields: list[InvalidField] | None = None
    """The broken rules of a 422."""
    retry_after: int | float | None = None
    """Seconds to wait after a 429."""
