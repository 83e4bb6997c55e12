"""The collections operations."""

from __future__ import annotations

from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.errors import not_found
from replicate_async.local.http.responses import Response, django_response


async def list_collections(context: RequestContext) -> Response:
    """Answer collections.list, which the service sends as one page."""
    results = [
        {"name": item.name, "slug": item.slug, "description": item.description}
        for item in context.store.collections.values()
    ]
    return django_response({"next": None, "previous": None, "results": results})


async def get_collection(context: RequestContext) -> Response:
    """Answer collections.get."""
    collection = context.store.collections.get(context.path["collection_slug"])
    if collection is None:
        raise not_found()
    return django_response(context.serialize.collection(collection))


HANDLERS: dict[str, Handler] = {
    "collections.list": list_collections,
    "collections.get": get_collection,
}
