from __future__ import annotations

import pytest

from replicate_async import CollectionItem, NotFoundError, Replicate
from replicate_async.local import LocalReplicate

pytestmark = pytest.mark.anyio


async def test_collections_are_listed_without_their_models(
    server: LocalReplicate, client: Replicate
) -> None:
    server.add_collection("say-it", ["local/echo"], name="Say it", description="Words back")

    items = [item async for item in client.collections.list()]

    assert [item.slug for item in items] == ["built-in", "say-it"]
    assert items[1] == CollectionItem(slug="say-it", name="Say it", description="Words back")


async def test_a_collection_comes_with_whole_models(
    server: LocalReplicate, client: Replicate
) -> None:
    server.add_collection("say-it", ["local/echo", "replicate/hello-world"])

    collection = await client.collections.get("say-it")

    assert (collection.slug, collection.name) == ("say-it", "Say it")
    assert [model.name for model in collection.models] == ["echo", "hello-world"]
    assert all(model.latest_version is not None for model in collection.models)


async def test_an_unknown_collection_is_not_found(client: Replicate) -> None:
    with pytest.raises(NotFoundError, match="There is no collection "):
        await client.collections.get("nothing")
