"""Collections: models grouped by what they do."""

from __future__ import annotations

from typing import Final

from replicate_async.core.endpoint import Endpoint
from replicate_async.resources._base import Listing, Resource
from replicate_async.schemas import Collection, CollectionItem, Page

LIST: Final = Endpoint("GET", "/collections", returns=Page[CollectionItem])
GET: Final = Endpoint("GET", "/collections/{collection_slug}", returns=Collection)


class Collections(Resource):
    """Models grouped by what they do; ``client.collections``."""

    async def get(self, collection_slug: str) -> Collection:
        """Fetch a collection with its models, by its slug such as "text-to-image".

        Raises `NotFoundError` when there is none (collections.get).
        """
        return await self._client.call(GET, {"collection_slug": collection_slug})

    def list(self) -> Listing[CollectionItem]:
        """Iterate over all collections, without their models (collections.list)."""
        return Listing(self._client, LIST)
