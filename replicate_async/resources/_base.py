"""What every resource stands on: the call, the checks before it, and listings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import msgspec

from replicate_async.core.endpoint import Endpoint, encode_query, shorten
from replicate_async.core.hooks import RequestHooks
from replicate_async.core.latest_versions import LatestVersions
from replicate_async.core.origin import Base
from replicate_async.errors import InvalidArgumentError, PaginationLoopError, UntrustedURLError
from replicate_async.files.find import Shape
from replicate_async.runs.streaming.connection import ByteStream
from replicate_async.runs.waiter import Waiter
from replicate_async.schemas import Page, Prediction, Training

if TYPE_CHECKING:
    from replicate_async.resources._notify import SigningSecret

R = TypeVar("R")
T = TypeVar("T")

NO_PATH: Final[Mapping[str, str]] = MappingProxyType({})


class Caller(Protocol):
    """What a resource needs of the client."""

    @property
    def base(self) -> Base:
        """Where the API is."""
        ...

    @property
    def latest_versions(self) -> LatestVersions:
        """The versions of community models that were looked up lately."""
        ...

    def covered_in(self, text: str) -> str:
        """Return *text*, which came from elsewhere, without the API token."""
        ...

    def call(
        self,
        endpoint: Endpoint[R],
        path: Mapping[str, str] = NO_PATH,
        *,
        query: msgspec.Struct | str | None = None,
        headers: msgspec.Struct | None = None,
        body: object = None,
        hold: float = 0.0,
        attempts: int | None = None,
        hooks: RequestHooks | None = None,
    ) -> Coroutine[Any, Any, R]:
        """Send a request for *endpoint* and return what it answers, when that is awaited."""
        ...

    @property
    def waiter(self) -> Waiter:
        """The schedule of all waits."""
        ...

    @property
    def signing_secret(self) -> SigningSecret:
        """The secret that webhooks are checked with."""
        ...

    @property
    def output_shapes(self) -> dict[str, Shape]:
        """Where the outputs of versions that were looked up have files."""
        ...

    async def open_file(self, url: str, start: int = 0, validator: str = "") -> ByteStream:
        """Open the file at *url*, from *start* on if it is still the one with *validator*."""
        ...

    async def open_stream(self, url: str, last_event_id: str = "") -> ByteStream:
        """Open the event stream at *url*, to go on after *last_event_id*."""
        ...


class Resource:
    """A group of operations; made by the client, which it calls."""

    __slots__ = ("_client",)

    def __init__(self, client: Caller) -> None:
        self._client = client


class Listing(Generic[T]):
    """A listing, read page by page as it is iterated over.

    ``async for item in listing`` yields items, ``async for page in listing.pages()`` pages. Each
    loop starts at the first page. Raises `UntrustedURLError` if the API points to a page elsewhere
    and `PaginationLoopError` if it points back.
    """

    __slots__ = ("_body", "_client", "_endpoint", "_hooks", "_path", "_query")

    def __init__(
        self,
        client: Caller,
        endpoint: Endpoint[Page[T]],
        path: Mapping[str, str] = NO_PATH,
        *,
        query: msgspec.Struct | None = None,
        body: str | None = None,
        hooks: RequestHooks | None = None,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._path = path
        self._query = query
        self._body = body
        self._hooks = hooks

    def __repr__(self) -> str:
        return f"<Listing {self._endpoint.method} {self._endpoint.path}>"

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.results:
                yield item

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Iterate over the pages, each a `Page` with ``results``, ``next`` and ``previous``."""
        query: msgspec.Struct | str | None = self._query
        seen = {"" if self._query is None else encode_query(self._query)}
        while True:
            page = await self._client.call(
                self._endpoint, self._path, query=query, body=self._body, hooks=self._hooks
            )
            yield page
            if not page.next_url:
                return
            query = self._following(page.next_url)
            if query in seen:
                query = self._client.covered_in(query)
                raise PaginationLoopError(
                    f"{self._endpoint.method} {self._endpoint.path} points back to a page that "
                    f"was already read ({shorten(query)}); the listing stops here."
                )
            seen.add(query)

    def _following(self, url: str) -> str:
        """Return the query of the next page, which must be one of this very listing.

        Only path and query are taken from *url*, so an ``http:`` link (the specification shows
        one) does no harm: the request goes to the configured base.
        """
        target = self._client.base.target(url, upgrade=True)
        path, _, query = (target or "").partition("?")
        if path.rstrip("/") != self._endpoint.target(self._path):
            url = self._client.covered_in(url)
            raise UntrustedURLError(
                f"The next page is said to be at {shorten(url)}, which is not a page of "
                f"{self._client.base.url}{self._endpoint.path}; it was not asked for.",
                url=url,
            )
        return query


def run_id(client: Caller, run: Prediction | Training | str) -> str:
    """Return the id of *run*, a snapshot or the id itself.

    A snapshot whose ``urls`` name another origin comes from elsewhere than this client's API, and
    raises `UntrustedURLError`.
    """
    if isinstance(run, str):
        return run
    if not isinstance(run, Prediction | Training):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise InvalidArgumentError(
            f"prediction_id={shorten(run)} is a {type(run).__name__}; give an id, or the "
            "Prediction or Training itself."
        )
    for url in (run.urls.get, run.urls.cancel):
        if url is not None and client.base.target(url) is None:
            shown = client.covered_in(url)
            raise UntrustedURLError(
                f"{run.id} is at {shorten(shown)}, not at {client.base.url}; use a client with "
                "that base_url, or pass the id alone if both are the same API.",
                url=shown,
            )
    return run.id
