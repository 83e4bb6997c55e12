"""Redirects, of API calls as well as of streams and files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar

from replicate_async.core.origin import resolve

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Answer(Protocol):
    """An answer, as far as a redirect is concerned."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields, their names in any case."""
        ...


A = TypeVar("A", bound=Answer)


async def follow_redirects(
    answer: A,
    url: str,
    *,
    hop: Callable[[str, A], Awaitable[A]],
    refused: Callable[[A], Exception],
    most: int,
) -> A:
    """Return the first answer that is no redirect, after *answer* came from *url*.

    *hop* gets the next URL and the redirect that named it; it checks the URL, and requests it.
    *refused* makes the error for a redirect without a location, and for more than *most* of them.
    """
    redirects = 0
    try:
        while answer.status in REDIRECTS:
            location = answer.headers.get("Location", "")
            if not location or redirects == most:
                raise refused(answer)
            redirects += 1
            url = resolve(url, location)
            answer = await hop(url, answer)
    finally:
        location = url = ""  # a server may echo the token, and tracebacks may show locals
    return answer
