"""Collections, groups of models."""

from __future__ import annotations

from replicate_async.resources._base import Resource
from replicate_async.resources._paginator import Paginator
from replicate_async.resources.endpoints import COLLECTIONS_GET, COLLECTIONS_LIST
from replicate_async.schemas import Collection, CollectionItem


class Collections(Resource):
    """Groups of models; ``client.collections``."""

    async def get(self, collection_slug: str) -> Collection:
        """Fetch a collection with its models (collections.get).

        Args:
            collection_slug: The slug, such as "text-to-image".

        Raises:
            NotFoundError: The collection is unknown.
        """
        return await self._context.call(COLLECTIONS_GET, {"collection_slug": collection_slug})

    def list(self) -> Paginator[CollectionItem]:
        """Iterate over all collections, without their models (collections.list)."""
        return Paginator(self._context, COLLECTIONS_LIST)
