"""Search over models, collections and documentation pages."""

from __future__ import annotations

from typing import Final

from replicate_async.core.endpoint import Endpoint
from replicate_async.resources._base import Caller
from replicate_async.resources._options import check_count, check_search
from replicate_async.schemas import SearchQuery, SearchResults

SEARCH: Final = Endpoint("GET", "/search", returns=SearchResults, query=SearchQuery)


async def search(client: Caller, query: str, limit: int | None) -> SearchResults:
    """Search models, collections and pages for *query*."""
    check_search(query)
    check_count("limit", limit, 1, 50)
    return await client.call(SEARCH, query=SearchQuery(query=query, limit=limit))
