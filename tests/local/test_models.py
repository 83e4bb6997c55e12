from __future__ import annotations

from typing import Any

import pytest

from replicate_async.local import LocalReplicate, Settings
from tests.local.wire import Wire, header

pytestmark = pytest.mark.anyio

NEW = {"owner": "dev", "name": "mine", "visibility": "private", "hardware": "cpu"}


async def test_a_model_is_made_without_versions(wire: Wire) -> None:
    answer = await wire.ask("POST", "/models", json=NEW | {"description": "Mine"})

    assert answer.status == 201
    assert header(answer, "Allow") == "GET, POST, QUERY, HEAD, OPTIONS"
    assert header(answer, "ratelimit-remaining") == "2999"
    model = answer.json
    assert model.pop("created_at").endswith("Z")
    assert model == {
        "url": "https://replicate.com/dev/mine",
        "owner": "dev",
        "name": "mine",
        "description": "Mine",
        "visibility": "private",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "weights_url": None,
        "cover_image_url": None,
        "run_count": 0,
        "is_official": False,
        "default_example": None,
        "latest_version": None,
    }
    assert (await wire.get("/models/dev/mine"))["description"] == "Mine"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"owner": "someone"}, 400),
        ({"name": "Not A Name"}, 400),
        ({"name": "../x"}, 400),
        ({"hardware": "abacus"}, 400),
        ({"license_url": "MIT"}, 400),
        ({"paper_url": "javascript:alert(1)"}, 400),
        ({"visibility": "secret"}, 422),
        ({"readme": "x"}, 422),
    ],
)
async def test_bad_models_are_refused(wire: Wire, change: dict[str, str], status: int) -> None:
    answer = await wire.ask("POST", "/models", json=NEW | change)

    assert answer.status == status
    assert answer.json["detail"]


async def test_names_are_taken_once(wire: Wire) -> None:
    await wire.ask("POST", "/models", json=NEW)

    assert (await wire.ask("POST", "/models", json=NEW)).status == 400


async def test_an_enum_is_refused_in_the_services_words(wire: Wire) -> None:
    answer = await wire.ask("POST", "/models", json=NEW | {"visibility": "secret"})

    assert answer.json["invalid_fields"] == [
        {
            "type": "enum",
            "field": "visibility",
            "description": 'visibility must be one of the following: "private", "public"',
        }
    ]


async def test_an_update_changes_what_it_names(wire: Wire) -> None:
    await wire.ask("POST", "/models", json=NEW | {"description": "Mine"})

    changes = {"readme": "# Mine", "weights_url": "https://example.com/w"}
    answer = await wire.ask("PATCH", "/models/dev/mine", json=changes)

    assert answer.status == 200
    assert answer.json["description"] == "Mine"
    assert answer.json["weights_url"] == "https://example.com/w"
    readme = await wire.ask("GET", "/models/dev/mine/readme")
    assert (readme.status, readme.text) == (200, "# Mine")
    assert header(readme, "Content-Type") == "text/plain; charset=utf-8"


async def test_others_can_neither_see_nor_change_a_private_model(wire: Wire) -> None:
    await wire.ask("POST", "/models", json=NEW)
    stranger = wire.server.add_account("eve")

    for method in ("GET", "PATCH", "DELETE"):
        body: dict[str, str] | None = {} if method == "PATCH" else None
        answer = await wire.ask(method, "/models/dev/mine", json=body, token=stranger)
        assert answer.status == 404
    assert (await wire.ask("PATCH", "/models/acme/echo", json={}, token=stranger)).status == 404


async def test_only_a_private_model_without_versions_is_deleted(
    server: LocalReplicate, wire: Wire
) -> None:
    @server.model("acme/private", visibility="private")
    def private() -> str:
        return "x"

    version = (await wire.get("/models/acme/private"))["latest_version"]["id"]
    assert (await wire.ask("DELETE", "/models/acme/echo")).status == 400
    assert (await wire.ask("DELETE", "/models/acme/private")).status == 400

    gone = await wire.ask("DELETE", f"/models/acme/private/versions/{version}")
    assert (gone.status, gone.body) == (202, b"")

    deleted = await wire.ask("DELETE", "/models/acme/private")
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await wire.ask("GET", "/models/acme/private")).status == 404


async def test_versions_that_are_used_stay(server: LocalReplicate, wire: Wire) -> None:
    @server.model("acme/used", visibility="private")
    def used() -> str:
        return "x"

    version = (await wire.get("/models/acme/used"))["latest_version"]["id"]
    body = {
        "name": "mine",
        "model": "acme/used",
        "version": version,
        "hardware": "cpu",
        "min_instances": 0,
        "max_instances": 1,
    }
    assert (await wire.ask("POST", "/deployments", json=body)).status == 200

    answer = await wire.ask("DELETE", f"/models/acme/used/versions/{version}")

    assert answer.status == 400
    assert "deployment" in answer.json["detail"]


async def test_registering_again_makes_a_version(server: LocalReplicate, wire: Wire) -> None:
    before = (await wire.get("/models/acme/echo"))["latest_version"]

    @server.model("acme/echo")
    def shout(text: str) -> str:
        return text.upper()

    page = await wire.get("/models/acme/echo/versions")
    assert [version["id"] for version in page["results"]][1] == before["id"]
    latest = page["results"][0]
    assert (await wire.get("/models/acme/echo"))["latest_version"] == latest
    assert await wire.get(f"/models/acme/echo/versions/{latest['id']}") == latest
    assert latest["openapi_schema"]["components"]["schemas"]["Input"]["required"] == ["text"]
    assert (await wire.finish("acme/echo", {"text": "a"}))["output"] == "A"
    assert (await wire.ask("GET", "/models/acme/echo/versions/0")).status == 404


class TestSmallPages:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(model_page_size=2)

    async def listed(self, wire: Wire, query: str = "") -> list[str]:
        found: list[str] = []
        page: dict[str, Any] = await wire.get(f"/models{query}")
        while True:
            found += [f"{item['owner']}/{item['name']}" for item in page["results"]]
            if page["next"] is None:
                return found
            assert query.strip("?") in page["next"]
            page = await wire.get(page["next"])

    async def test_models_are_listed_by_their_newest_version(
        self, server: LocalReplicate, wire: Wire
    ) -> None:
        before = await self.listed(wire)

        @server.model("acme/echo")
        def echo() -> str:
            return "new"

        after = await self.listed(wire)
        assert (before[0], after[0]) == ("acme/broken", "acme/echo")
        assert sorted(before) == sorted(after)
        by_creation = await self.listed(wire, "?sort_by=model_created_at")
        assert by_creation[0] == "acme/broken"
        assert await self.listed(wire, "?sort_direction=asc") == after[::-1]

    async def test_private_models_are_not_listed(self, wire: Wire) -> None:
        await wire.ask("POST", "/models", json=NEW)

        assert "dev/mine" not in await self.listed(wire)

    @pytest.mark.parametrize(
        "query", ["sort_by=name", "sort_direction=up", "sort_by=null", "sort_by="]
    )
    async def test_other_orders_are_refused(self, wire: Wire, query: str) -> None:
        assert (await wire.ask("GET", f"/models?{query}")).status == 400


async def test_search_ranks_names_above_descriptions(server: LocalReplicate, wire: Wire) -> None:
    @server.model("acme/parrot", description="Repeats what it hears")
    def parrot() -> str:
        return "x"

    @server.model("acme/bird", description="Not a parrot")
    def bird() -> str:
        return "x"

    answer = await wire.ask(
        "QUERY", "/models", data=b"parrot", headers={"Content-Type": "text/plain"}
    )

    assert answer.status == 200
    assert [item["name"] for item in answer.json["results"]] == ["parrot", "bird"]
    assert (answer.json["next"], answer.json["previous"]) == (None, None)


async def test_search_finds_models_collections_and_pages(
    server: LocalReplicate, wire: Wire
) -> None:
    server.add_collection("echoes", ["acme/echo"], description="What comes back")

    answer = await wire.ask("GET", "/search?query=echo&limit=1", token=None)

    assert answer.status == 200
    found = answer.json
    assert found["query"] == "echo"
    assert len(found["models"]) == 1
    assert set(found["models"][0]) == {"model", "metadata"}
    assert found["models"][0]["metadata"]["score"] > 0
    assert found["collections"] == [
        {
            "name": "Echoes",
            "slug": "echoes",
            "description": "What comes back",
            "models": ["acme/echo"],
        }
    ]
    assert (await wire.get("/search?query=webhooks"))["pages"][0]["name"] == "Webhooks"


@pytest.mark.parametrize("target", ["/search", "/search?query=", "/search?query=a&limit=51"])
async def test_bad_searches_are_refused(wire: Wire, target: str) -> None:
    answer = await wire.ask("GET", target)

    assert answer.status == 400
    assert header(answer, "Content-Type") == "application/json"
    if "limit" not in target:
        assert answer.json == {"detail": 'Query parameter "query" is required'}


async def test_examples_run_when_they_are_asked_for(server: LocalReplicate, wire: Wire) -> None:
    @server.model("acme/shown", examples=[{"text": "a"}, {"text": "b"}])
    def shown(text: str) -> str:
        return text * 2

    page = await wire.get("/models/acme/shown/examples")

    assert [item["output"] for item in page["results"]] == ["bb", "aa"]
    again = await wire.get("/models/acme/shown/examples")
    assert again == page
    assert (await wire.get("/models/acme/shown"))["default_example"]["output"] == "aa"
    assert (await wire.get("/models/acme/echo/examples"))["results"] == []


async def test_a_model_without_a_readme_has_none(wire: Wire) -> None:
    assert (await wire.ask("GET", "/models/acme/echo/readme")).status == 404


async def test_the_account_hardware_and_collections_are_there(wire: Wire) -> None:
    assert await wire.get("/account") == {
        "type": "user",
        "username": "dev",
        "name": "Dev",
        "github_url": "https://github.com/dev",
        "avatar_url": "https://github.com/dev.png",
    }
    hardware = await wire.get("/hardware")
    assert hardware[:2] == [
        {"sku": "cpu", "name": "CPU"},
        {"sku": "gpu-t4", "name": "Nvidia T4 GPU"},
    ]
    collections = await wire.get("/collections")
    assert (collections["next"], collections["previous"]) == (None, None)
    slug = collections["results"][0]["slug"]
    collection = await wire.get(f"/collections/{slug}")
    assert "storyteller" in [model["name"] for model in collection["models"]]
    assert (await wire.ask("GET", "/collections/none")).status == 404
