"""Hooks around the attempts of a request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["RequestHooks"]


class RequestHooks:
    """Called around the attempts of one request; the default methods do nothing.

    An error that a hook raises ends the request.
    """

    def sending(self, input: Mapping[str, Any], secrets: Collection[str]) -> None:
        """Record the *input* as it is sent, with its file URLs; *secrets* are texts in it."""

    async def begin(self) -> None:
        """Run when an attempt has its permit, directly before it is sent."""

    async def refused(self) -> None:
        """Run when an attempt certainly did nothing: it was not sent, or the API refused it."""

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Run with *status* and *headers* of an answer that is a success."""
