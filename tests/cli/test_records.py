"""``trainings``, ``deployments`` and ``account``, as programs."""

from __future__ import annotations

import json

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from tests.cli.program import Ran, run
from tests.resources.test_deployments import version_of

pytestmark = pytest.mark.anyio


async def test_a_training_is_created_listed_shown_and_canceled(server: LocalReplicate) -> None:
    async with Replicate(server.api_token, base_url=server.url) as client:
        await client.models.create("dev/tales", visibility="private", hardware="cpu")
        version = f"local/storyteller:{await version_of(client, 'local/storyteller')}"
        text = "Once there was a king. The king had a golden ball."

        created = await run("trainings", "create", version, "--destination", "dev/tales",
                            f"text={text}", server=server)  # fmt: skip
        training = await client.trainings.wait(created.out.strip())
    listed = await run("trainings", "list", server=server)
    shown = await run("trainings", "get", training.id, server=server)
    canceled = await run("trainings", "cancel", training.id, server=server)
    missing = await run("trainings", "get", "nope", server=server)

    assert (created.code, created.err) == (0, "")
    assert listed.out.split("\t")[:3] == [training.id, "local/storyteller", "succeeded"]
    assert f"id       {training.id}\n" in shown.out
    assert f"input    text={text[:37]}...\n" in shown.out
    assert canceled.err == f"training {training.id} had succeeded already\n"
    assert missing.err == "error: There is no training nope, or the token may not see it.\n"


async def test_a_deployment_is_created_changed_and_deleted(server: LocalReplicate) -> None:
    async with Replicate(server.api_token, base_url=server.url) as client:
        version = await version_of(client, "local/echo")

    async def deployments(*arguments: str) -> Ran:
        return await run("deployments", *arguments, server=server)

    created = await deployments("create", "prod", "--model", "local/echo", "--version", version,
                                "--hardware", "cpu")  # fmt: skip
    updated = await deployments("update", "dev/prod", "--max-instances", "3", "--json")
    nothing = await deployments("update", "dev/prod")
    listed = await deployments("list")
    server.advance(20 * 60)
    deleted = await deployments("delete", "dev/prod")
    missing = await deployments("get", "dev/prod")

    assert created.code == 0, created.err
    assert "hardware   cpu\ninstances  0..1\n" in created.out
    assert json.loads(updated.out)["current_release"]["configuration"]["max_instances"] == 3
    assert "nothing to change" in nothing.err
    assert listed.out == "dev/prod\tcpu\t0..3\tlocal/echo\n"
    assert deleted.out == "deleted deployment dev/prod\n", deleted.err
    assert missing.err.startswith("error: There is no deployment dev/prod, or")


async def test_the_account_is_that_of_the_token(server: LocalReplicate) -> None:
    shown = await run("account", server=server)
    as_json = await run("account", "--json", server=server)

    assert shown.out.startswith("username  dev\ntype      user\n")
    assert json.loads(as_json.out)["username"] == "dev"
