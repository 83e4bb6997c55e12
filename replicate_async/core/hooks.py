"""What a caller can do around each attempt of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["RequestHooks"]


class RequestHooks:
    """Called by the sender around the attempts of one request; by default, nothing is done.

    `begin` runs when the permit for an attempt is there, directly before it leaves, and `refused`
    when it certainly did nothing, before another is waited for. What they raise ends the request.
    """

    def sending(self, input: Mapping[str, Any]) -> None:
        """Take note of the *input* as it is sent, with the URLs of its files."""

    async def begin(self) -> None:
        """Prepare for an attempt that is about to leave."""

    async def refused(self) -> None:
        """Take note that the attempt was not sent, or was refused by the API."""

    def answered(self, headers: Mapping[str, str]) -> None:
        """Take note of the *headers* of the answer that ended the request with success."""
