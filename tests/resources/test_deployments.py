from __future__ import annotations

import pytest

from replicate_async import (
    BadRequestError,
    Deployment,
    NotFoundError,
    Replicate,
    UnprocessableEntityError,
)
from replicate_async.local import LocalReplicate
from replicate_async.schemas import ReleaseConfiguration

pytestmark = pytest.mark.anyio


async def version_of(client: Replicate, model: str) -> str:
    version = (await client.models.get(model)).latest_version
    assert version is not None
    return version.id


async def deploy(client: Replicate, name: str = "prod", **changes: str) -> Deployment:
    return await client.deployments.create(
        name,
        model=changes.get("model", "local/echo"),
        version=changes.get("version") or await version_of(client, "local/echo"),
        hardware=changes.get("hardware", "cpu"),
        min_instances=0,
        max_instances=2,
    )


async def test_a_deployment_belongs_to_the_account(client: Replicate) -> None:
    made = await deploy(client)

    assert (made.owner, made.name) == ("dev", "prod")
    release = made.current_release
    assert release is not None
    assert (release.number, release.model) == (1, "local/echo")
    assert release.version == await version_of(client, "local/echo")
    assert release.created_by == await client.account.get()
    assert release.created_at is not None
    assert release.configuration == ReleaseConfiguration(
        hardware="cpu", min_instances=0, max_instances=2
    )
    assert await client.deployments.get("dev/prod") == made
    assert [item async for item in client.deployments.list()] == [made]


async def test_each_update_is_a_release_and_keeps_what_it_does_not_name(client: Replicate) -> None:
    await deploy(client)

    larger = await client.deployments.update("dev/prod", max_instances=5)
    faster = await client.deployments.update("dev/prod", hardware="gpu-t4", min_instances=1)

    assert larger.current_release is not None
    assert faster.current_release is not None
    assert (larger.current_release.number, faster.current_release.number) == (2, 3)
    assert faster.current_release.version == larger.current_release.version
    assert faster.current_release.configuration == ReleaseConfiguration(
        hardware="gpu-t4", min_instances=1, max_instances=5
    )
    assert await client.deployments.get("dev/prod") == faster


async def test_an_update_can_name_another_version(
    server: LocalReplicate, client: Replicate
) -> None:
    old = server.add_model("acme/say", _say_one)
    new = server.add_model("acme/say", _say_two)
    await deploy(client, model="acme/say", version=old)
    before = await client.deployments.predictions.create("dev/prod", wait=5)

    await client.deployments.update("dev/prod", version=new)
    after = await client.deployments.predictions.create("dev/prod", wait=5)

    assert (before.output, before.version) == ("one", old)
    assert (after.output, after.version) == ("two", new)


def _say_one() -> str:
    return "one"


def _say_two() -> str:
    return "two"


async def test_predictions_run_on_the_deployment(client: Replicate) -> None:
    await deploy(client)

    prediction = await client.deployments.predictions.create("dev/prod", {"value": 7}, wait=5)

    assert (prediction.status, prediction.output) == ("succeeded", 7)
    assert prediction.deployment == "dev/prod"
    assert prediction.model == "local/echo"


async def test_a_deployment_checks_its_models_input(client: Replicate) -> None:
    await deploy(client)

    with pytest.raises(UnprocessableEntityError) as caught:
        await client.deployments.predictions.create("dev/prod")

    assert [field.description for field in caught.value.invalid_fields] == ["value is required"]


async def test_a_deployment_is_deleted_after_15_minutes_without_use(
    server: LocalReplicate, client: Replicate
) -> None:
    await deploy(client)
    await client.deployments.predictions.create("dev/prod", {"value": 7}, wait=5)

    with pytest.raises(BadRequestError, match="unused for at least 15 minutes"):
        await client.deployments.delete("dev/prod")
    server.advance(15 * 60)
    await client.deployments.delete("dev/prod")

    with pytest.raises(NotFoundError):
        await client.deployments.get("dev/prod")


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"model": "acme/nothing"}, "The specified model does not exist."),
        ({"version": "0" * 64}, "The specified version does not exist."),
        ({"hardware": "abacus"}, '"abacus" is not the SKU of any hardware.'),
    ],
)
async def test_the_deployed_version_must_exist(
    client: Replicate, changes: dict[str, str], detail: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        await deploy(client, **changes)

    assert caught.value.detail == detail


async def test_a_name_is_used_once(client: Replicate) -> None:
    await deploy(client)

    with pytest.raises(BadRequestError, match="already exists"):
        await deploy(client)


async def test_an_update_is_checked(client: Replicate) -> None:
    await deploy(client)

    with pytest.raises(BadRequestError, match="must not be greater than max_instances"):
        await client.deployments.update("dev/prod", min_instances=3)

    unchanged = await client.deployments.get("dev/prod")
    assert unchanged.current_release is not None
    assert unchanged.current_release.number == 1


async def test_unknown_deployments_are_not_found(server: LocalReplicate, client: Replicate) -> None:
    await deploy(client)
    stranger = client.with_options(api_token=server.add_account("stranger"))

    for call in (
        client.deployments.get("dev/other"),
        client.deployments.update("dev/other", min_instances=1),
        client.deployments.delete("dev/other"),
        client.deployments.predictions.create("dev/other", {"value": 1}),
        stranger.deployments.get("dev/prod"),
        stranger.deployments.predictions.create("dev/prod", {"value": 1}),
    ):
        with pytest.raises(NotFoundError):
            await call
    assert [item async for item in stranger.deployments.list()] == []
