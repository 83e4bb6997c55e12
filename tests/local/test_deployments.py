from __future__ import annotations

from typing import Any

import pytest

from tests.local.wire import Wire

pytestmark = pytest.mark.anyio


async def body(wire: Wire, **changes: object) -> dict[str, Any]:
    version = (await wire.get("/models/acme/echo"))["latest_version"]["id"]
    return {
        "name": "mine",
        "model": "acme/echo",
        "version": version,
        "hardware": "cpu",
        "min_instances": 0,
        "max_instances": 2,
        **changes,
    }


async def test_a_deployment_runs_its_version(wire: Wire) -> None:
    answer = await wire.ask("POST", "/deployments", json=await body(wire))

    assert answer.status == 200
    deployment = answer.json
    release = deployment["current_release"]
    assert (deployment["owner"], deployment["name"]) == ("dev", "mine")
    assert (release["number"], release["model"]) == (1, "acme/echo")
    assert release["created_by"]["username"] == "dev"
    assert release["configuration"] == {
        "hardware": "cpu",
        "min_instances": 0,
        "max_instances": 2,
    }
    created = await wire.ask(
        "POST", "/deployments/dev/mine/predictions", json={"input": {"text": "a"}}
    )
    assert (created.status, created.json["deployment"]) == (201, "dev/mine")
    assert (await wire.ended(created.json["id"]))["output"] == "a"


async def test_every_update_is_a_release(wire: Wire) -> None:
    await wire.ask("POST", "/deployments", json=await body(wire))

    changes = {"max_instances": 5, "hardware": "gpu-t4"}
    answer = await wire.ask("PATCH", "/deployments/dev/mine", json=changes)

    assert answer.status == 200
    release = answer.json["current_release"]
    assert release["number"] == 2
    assert release["configuration"] == {
        "hardware": "gpu-t4",
        "min_instances": 0,
        "max_instances": 5,
    }
    assert await wire.get("/deployments/dev/mine") == answer.json
    assert (await wire.get("/deployments"))["results"] == [answer.json]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"name": "Not a name"}, 400),
        ({"model": "acme/none"}, 400),
        ({"version": "0" * 64}, 400),
        ({"hardware": "abacus"}, 400),
        ({"min_instances": 3}, 400),
        ({"min_instances": 6}, 422),
        ({"max_instances": 21}, 422),
        ({"max_instances": "2"}, 422),
        ({"max_instances": 2.0}, 200),
        ({"more": 1}, 422),
    ],
)
async def test_invalid_deployments_are_refused(
    wire: Wire, changes: dict[str, object], status: int
) -> None:
    answer = await wire.ask("POST", "/deployments", json=await body(wire, **changes))

    assert answer.status == status


async def test_bounds_are_refused_in_the_services_words(wire: Wire) -> None:
    answer = await wire.ask("POST", "/deployments", json=await body(wire, max_instances=21))

    assert answer.json["detail"] == "- max_instances: Must be less than or equal to 20\n"


async def test_a_name_is_taken_once(wire: Wire) -> None:
    await wire.ask("POST", "/deployments", json=await body(wire))

    assert (await wire.ask("POST", "/deployments", json=await body(wire))).status == 400


async def test_updates_are_checked_like_creates(wire: Wire) -> None:
    await wire.ask("POST", "/deployments", json=await body(wire))

    answer = await wire.ask("PATCH", "/deployments/dev/mine", json={"version": "0" * 64})

    assert answer.status == 400
    assert (await wire.get("/deployments/dev/mine"))["current_release"]["number"] == 1


async def test_a_deployment_can_be_deleted_15_minutes_after_its_last_run(wire: Wire) -> None:
    await wire.ask("POST", "/deployments", json=await body(wire))
    await wire.ask("POST", "/deployments/dev/mine/predictions", json={"input": {"text": "a"}})
    assert (await wire.ask("DELETE", "/deployments/dev/mine")).status == 400

    wire.server.advance(15 * 60)

    deleted = await wire.ask("DELETE", "/deployments/dev/mine")
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await wire.ask("GET", "/deployments/dev/mine")).status == 404


async def test_deployments_belong_to_their_account(wire: Wire) -> None:
    await wire.ask("POST", "/deployments", json=await body(wire))
    stranger = wire.server.add_account("eve")

    answer = await wire.ask("GET", "/deployments/dev/mine", token=stranger)

    assert answer.status == 404
