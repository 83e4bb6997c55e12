"""Search over models, collections and documentation pages."""

from __future__ import annotations

from replicate_async.arguments import check_count
from replicate_async.context import ClientContext
from replicate_async.resources._options import check_search
from replicate_async.resources.endpoints import SEARCH
from replicate_async.schemas import SearchQuery, SearchResults


async def search(context: ClientContext, query: str, limit: int | None) -> SearchResults:
    """Search models, collections and pages for *query*."""
    check_search(query)
    check_count("limit", limit, 1, 50)
    return await context.call(SEARCH, query=SearchQuery(query=query, limit=limit))
