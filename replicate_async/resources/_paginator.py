"""Listings, read page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Generic, TypeVar

import msgspec

from replicate_async.context import NO_PATH, ClientContext
from replicate_async.core.endpoint import Endpoint, encode_query, shorten
from replicate_async.core.hooks import RequestHooks
from replicate_async.errors import PaginationLoopError, UntrustedURLError
from replicate_async.schemas import Page

T = TypeVar("T")


class Paginator(Generic[T]):
    """A listing that is read page by page while you iterate over it.

    ``async for item in listing`` gives items, ``async for page in listing.pages()`` gives pages.
    Each loop starts at the first page.

    Raises:
        UntrustedURLError: The API points to a page at another address.
        PaginationLoopError: The API points back to a page that was read.
    """

    __slots__ = ("_body", "_context", "_endpoint", "_hooks", "_path", "_query")

    def __init__(
        self,
        context: ClientContext,
        endpoint: Endpoint[Page[T]],
        path: Mapping[str, str] = NO_PATH,
        *,
        query: msgspec.Struct | None = None,
        body: str | None = None,
        hooks: RequestHooks | None = None,
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._path = path
        self._query = query
        self._body = body
        self._hooks = hooks

    def __repr__(self) -> str:
        return f"<Paginator {self._endpoint.method} {self._endpoint.path}>"

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.results:
                yield item

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Iterate over the pages, each a `Page` with ``results``, ``next`` and ``previous``."""
        query = encode_query(self._query)
        seen = {query}
        while True:
            page = await self._context.call(
                self._endpoint, self._path, query=query, body=self._body, hooks=self._hooks
            )
            yield page
            if not page.next_url:
                return
            query = self._following(page.next_url)
            if query in seen:
                query = self._context.redact(query)
                raise PaginationLoopError(
                    f"{self._endpoint.method} {self._endpoint.path} points back to a page that "
                    f"was already read ({shorten(query)}); the listing stops here."
                )
            seen.add(query)

    def _following(self, url: str) -> str:
        """Return the query of the next page, which must belong to the same listing.

        The request goes to the configured base URL, so an ``http:`` link is harmless; the
        specification shows one.
        """
        base = self._context.base
        target = base.target(url, upgrade=True)
        path, _, query = (target or "").partition("?")
        if path.rstrip("/") != self._endpoint.target(self._path):
            url = self._context.redact(url)
            raise UntrustedURLError(
                f"The API names {shorten(url)} as the next page, which is not a page of "
                f"{base.url}{self._endpoint.path}; it was not requested.",
                url=url,
            )
        return query
