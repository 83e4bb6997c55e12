from __future__ import annotations

import pytest

from replicate_async import (
    BadRequestError,
    Model,
    NotFoundError,
    Replicate,
    UnprocessableEntityError,
)
from replicate_async.local import LocalReplicate, Settings
from tests.support.embedded import embedded

pytestmark = pytest.mark.anyio


def say(text: str) -> str:
    """Say it once."""
    return text


def say_twice(text: str) -> str:
    """Say it twice."""
    return text * 2


async def make(client: Replicate, model: str = "dev/new") -> Model:
    return await client.models.create(model, visibility="private", hardware="cpu")


async def test_a_model_is_created_empty(client: Replicate) -> None:
    made = await client.models.create(
        "dev/new",
        visibility="private",
        hardware="gpu-t4",
        description="Says it",
        github_url="https://github.com/dev/new",
        paper_url="https://arxiv.org/abs/1",
        license_url="https://example.com/license",
        cover_image_url="https://example.com/cover.png",
    )

    assert (made.owner, made.name, made.visibility) == ("dev", "new", "private")
    assert (made.description, made.github_url) == ("Says it", "https://github.com/dev/new")
    assert made.paper_url == "https://arxiv.org/abs/1"
    assert made.license_url == "https://example.com/license"
    assert made.cover_image_url == "https://example.com/cover.png"
    assert (made.run_count, made.latest_version, made.default_example) == (0, None, None)
    assert await client.models.get("dev/new") == made


async def test_a_model_is_created_once_and_by_its_owner(client: Replicate) -> None:
    await make(client)

    with pytest.raises(BadRequestError, match="already exists"):
        await make(client)
    with pytest.raises(BadRequestError, match="must be the account"):
        await make(client, "acme/new")
    with pytest.raises(BadRequestError, match='"abacus" is not the SKU'):
        await client.models.create("dev/other", visibility="public", hardware="abacus")


async def test_an_update_changes_what_it_names(client: Replicate) -> None:
    made = await make(client)

    changed = await client.models.update(
        "dev/new",
        description="New words",
        github_url="https://github.com/dev/a",
        weights_url="https://example.com/w.tar",
    )
    again = await client.models.update("dev/new", paper_url="https://arxiv.org/abs/2")

    assert (changed.description, changed.github_url) == ("New words", "https://github.com/dev/a")
    assert changed.weights_url == "https://example.com/w.tar"
    assert (again.description, again.paper_url) == ("New words", "https://arxiv.org/abs/2")
    assert (again.owner, again.name, again.created_at) == ("dev", "new", made.created_at)


async def test_a_readme_is_markdown_text(client: Replicate) -> None:
    await make(client)
    with pytest.raises(NotFoundError):
        await client.models.readme.get("dev/new")

    await client.models.update("dev/new", readme="# Ünüsual\n\n*words*\r\n")

    assert await client.models.readme.get("dev/new") == "# Ünüsual\n\n*words*\r\n"


async def test_a_model_that_looks_like_json_has_a_readme_like_any_other(client: Replicate) -> None:
    await make(client)
    await client.models.update("dev/new", readme='{"detail": "no"}')

    assert await client.models.readme.get("dev/new") == '{"detail": "no"}'


async def test_only_private_models_without_versions_are_deleted(
    server: LocalReplicate, client: Replicate
) -> None:
    await make(client)
    server.add_model("acme/public", say)
    server.add_model("acme/full", say, visibility="private")

    await client.models.delete("dev/new")

    with pytest.raises(NotFoundError):
        await client.models.get("dev/new")
    with pytest.raises(BadRequestError, match="Only private models"):
        await client.models.delete("acme/public")
    with pytest.raises(BadRequestError, match="only after all its versions"):
        await client.models.delete("acme/full")


async def test_versions_are_listed_newest_first(server: LocalReplicate, client: Replicate) -> None:
    first = server.add_model("acme/say", say)
    second = server.add_model("acme/say", say_twice)

    versions = [version async for version in client.models.versions.list("acme/say")]

    assert [version.id for version in versions] == [second, first]
    assert await client.models.versions.get("acme/say", first) == versions[1]
    latest = (await client.models.get("acme/say")).latest_version
    assert latest == versions[0]
    schema = versions[0].openapi_schema
    assert schema is not None
    assert schema["components"]["schemas"]["Input"]["required"] == ["text"]


async def test_a_private_models_version_is_deleted(
    server: LocalReplicate, client: Replicate
) -> None:
    version = server.add_model("acme/say", say, visibility="private")
    other = server.add_model("acme/say", say_twice, visibility="private")

    await client.models.versions.delete("acme/say", version)

    assert [item.id async for item in client.models.versions.list("acme/say")] == [other]
    with pytest.raises(NotFoundError):
        await client.models.versions.get("acme/say", version)
    with pytest.raises(NotFoundError):
        await client.models.versions.delete("acme/say", version)
    await client.models.versions.delete("acme/say", other)
    await client.models.delete("acme/say")
    with pytest.raises(NotFoundError):
        await client.models.get("acme/say")


async def test_a_version_in_use_is_not_deleted(server: LocalReplicate, client: Replicate) -> None:
    public = server.add_model("acme/public", say)
    deployed = server.add_model("acme/deployed", say, visibility="private")
    await client.deployments.create(
        "prod",
        model="acme/deployed",
        version=deployed,
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    )

    with pytest.raises(BadRequestError, match="Only versions of private models"):
        await client.models.versions.delete("acme/public", public)
    with pytest.raises(BadRequestError, match="that a deployment uses"):
        await client.models.versions.delete("acme/deployed", deployed)
    with pytest.raises(BadRequestError, match="only after all its versions"):
        await client.models.delete("acme/deployed")


async def test_private_models_are_visible_to_their_owner_only(
    server: LocalReplicate, client: Replicate
) -> None:
    await make(client)
    stranger = client.with_options(api_token=server.add_account("stranger"))

    for call in (
        stranger.models.get("dev/new"),
        stranger.models.readme.get("dev/new"),
        stranger.models.update("dev/new", description="Mine"),
        stranger.models.delete("dev/new"),
        stranger.models.update("local/echo", description="Mine"),
    ):
        with pytest.raises(NotFoundError):
            await call
    assert "new" not in [model.name async for model in stranger.models.list()]


async def test_unknown_models_are_not_found(client: Replicate) -> None:
    unknown = "acme/nothing"
    for call in (
        client.models.get(unknown),
        client.models.update(unknown, description="x"),
        client.models.delete(unknown),
        client.models.readme.get(unknown),
        client.models.versions.get(unknown, "0" * 64),
        client.models.versions.delete(unknown, "0" * 64),
        client.models.predictions.create(unknown),
        anext(aiter(client.models.versions.list(unknown))),
        anext(aiter(client.models.examples.list(unknown))),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_models_are_listed_as_they_are_sorted() -> None:
    async with embedded(Settings(model_page_size=2)) as (server, client):
        server.add_model("acme/old", say)
        server.add_model("acme/young", say)
        server.add_model("acme/old", say_twice)

        newest = [model.name async for model in client.models.list()]
        created = [model.name async for model in client.models.list(sort_by="model_created_at")]
        oldest = [
            model.name
            async for model in client.models.list(sort_by="model_created_at", sort_direction="asc")
        ]

    assert newest[:2] == ["old", "young"]
    assert created[:2] == ["young", "old"]
    assert oldest == created[::-1]
    assert len(set(newest)) == len(newest) == len(created)


async def test_models_are_searched_with_their_own_method(
    server: LocalReplicate, client: Replicate
) -> None:
    server.add_model("acme/parrot", say)

    found = [model async for model in client.models.search("parrot")]

    assert [(model.owner, model.name) for model in found] == [("acme", "parrot")]
    assert [model async for model in client.models.search("no such thing")] == []
    assert [model async for model in client.models.search("été \u2028 ✓ \n #&?")] == []


async def test_examples_are_predictions_that_ran(server: LocalReplicate, client: Replicate) -> None:
    server.add_model("acme/say", say_twice, examples=[{"text": "a"}, {"text": "b"}])

    examples = [example async for example in client.models.examples.list("acme/say")]

    assert [(example.status, example.output) for example in examples] == [
        ("succeeded", "bb"),
        ("succeeded", "aa"),
    ]
    shown = (await client.models.get("acme/say")).default_example
    assert shown is not None
    assert shown.output == "aa"


async def test_official_models_run_without_a_version(client: Replicate) -> None:
    prediction = await client.models.predictions.create("local/echo", {"value": [1]}, wait=5)

    assert (prediction.status, prediction.output) == ("succeeded", [1])
    assert prediction.model == "local/echo"
    with pytest.raises(NotFoundError) as caught:
        await client.models.predictions.create("replicate/hello-world", {"text": "Alice"})
    assert caught.value.detail == "The requested resource could not be found."
    with pytest.raises(UnprocessableEntityError):
        await client.models.predictions.create("local/echo")


async def test_a_model_may_hide_its_versions(server: LocalReplicate, client: Replicate) -> None:
    server.add_model("acme/hidden", say, official=True, hidden=True)

    prediction = await client.models.predictions.create("acme/hidden", {"text": "a"}, wait=5)

    assert (prediction.version, prediction.output) == ("hidden", "a")
    with pytest.raises(NotFoundError):
        await anext(aiter(client.models.versions.list("acme/hidden")))
