from __future__ import annotations

import pytest

from replicate_async import BadRequestError, Replicate, ServerError
from replicate_async.context import context_of
from replicate_async.core.endpoint import Endpoint
from replicate_async.local import LocalReplicate
from replicate_async.schemas import SearchPage, SearchQuery, SearchResults

pytestmark = pytest.mark.anyio


async def test_search_finds_models_collections_and_pages(
    server: LocalReplicate, client: Replicate
) -> None:
    server.add_collection("echo-models", ["local/echo"], description="Models that echo")

    found = await client.search("echo")

    assert found.query == "echo"
    assert found.models[0].model is not None
    assert found.models[0].model.name == "echo"
    assert found.models[0].metadata is not None
    assert found.models[0].metadata.score is not None
    assert [item.slug for item in found.collections] == ["echo-models"]
    assert found.collections[0].models == ["local/echo"]
    pages = (await client.search("webhooks")).pages
    assert pages == [SearchPage(name="Webhooks", href="/docs/topics/webhooks")]


async def test_the_limit_is_for_models(server: LocalReplicate, client: Replicate) -> None:
    for number in range(3):
        server.add_model(f"acme/parrot-{number}", _parrot)

    assert len((await client.search("parrot")).models) == 3
    assert len((await client.search("parrot", limit=2)).models) == 2


def _parrot(text: str) -> str:
    return text


async def test_search_is_open_to_everyone(client: Replicate) -> None:
    found = await client.with_options(api_token="r8_unknown").search("storyteller")

    assert found.models


async def test_a_query_travels_as_it_was_given(client: Replicate) -> None:
    query = "a&limit=0 +%20é\u2028#?"

    assert (await client.search(query)).query == query


async def test_an_empty_query_is_a_bad_request_to_the_api(client: Replicate) -> None:
    search = Endpoint("GET", "/search", returns=SearchResults, query=SearchQuery)

    with pytest.raises(BadRequestError) as caught:
        await context_of(client).call(search, query=SearchQuery(query=""))

    assert caught.value.detail == 'Query parameter "query" is required'


async def test_a_search_service_that_fails_is_a_server_error(
    server: LocalReplicate, client: Replicate
) -> None:
    body = '{"detail": "Search service error"}'
    server.faults.add("search", status=500, body=body, content_type="application/json")

    with pytest.raises(ServerError, match="GET /search answered 500: Search service error"):
        await client.search("echo")
