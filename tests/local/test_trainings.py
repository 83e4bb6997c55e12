from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.local.wire import Answer, Wire, header

pytestmark = pytest.mark.anyio

TEXT = "The cat sat on the mat. The cat ate the rat. The rat sat on the cat. " * 4


async def train(wire: Wire, model: str = "local/storyteller", **changes: object) -> Answer:
    version = (await wire.get(f"/models/{model}"))["latest_version"]["id"]
    await wire.ask(
        "POST",
        "/models",
        json={"owner": "dev", "name": "cats", "visibility": "private", "hardware": "cpu"},
    )
    body = {"destination": "dev/cats", "input": {"text": TEXT}, **changes}
    return await wire.ask("POST", f"/models/{model}/versions/{version}/trainings", json=body)


async def ended(wire: Wire, id: str) -> Any:
    while True:
        training = await wire.get(f"/trainings/{id}")
        if training["status"] not in {"starting", "processing"}:
            return training
        await asyncio.sleep(0.02)  # below the rate limit, however long it takes


async def test_a_training_makes_a_version_that_runs(wire: Wire) -> None:
    answer = await train(wire)

    assert answer.status == 201
    # Three requests have been counted; meanwhile the limit may have risen by one or two again.
    assert header(answer, "ratelimit-remaining") in {"2997", "2998", "2999"}
    training = answer.json
    base = f"{wire.server.url}/predictions/{training['id']}"
    assert (training["urls"]["get"], training["urls"]["cancel"]) == (base, f"{base}/cancel")
    assert (training["status"], training["output"]) == ("starting", None)

    done = await ended(wire, training["id"])

    assert done["status"] == "succeeded", done
    assert done["urls"]["get"] == f"{wire.server.url}/trainings/{training['id']}"
    assert set(done["metrics"]) >= {"predict_time", "total_time"}
    model, _, version = done["output"]["version"].partition(":")
    assert model == "dev/cats"
    assert (await wire.get("/models/dev/cats"))["latest_version"]["id"] == version
    assert (await wire.ask("GET", done["output"]["weights"], token=None)).status == 200
    story = await wire.finish("dev/cats", {"prompt": "The"})
    assert story["status"] == "succeeded", story
    words = set("".join(story["output"]).lower().replace(".", " ").split())
    assert words <= set(TEXT.lower().replace(".", " ").split())


async def test_a_training_is_a_prediction_inside(wire: Wire) -> None:
    training = (await train(wire)).json
    await ended(wire, training["id"])

    inside = await wire.get(f"/predictions/{training['id']}")

    assert (inside["id"], inside["status"]) == (training["id"], "succeeded")
    assert (await wire.get("/predictions"))["results"] == []
    assert [item["id"] for item in (await wire.get("/trainings"))["results"]] == [training["id"]]


async def test_cancelling_a_training_that_has_ended_changes_nothing(wire: Wire) -> None:
    training = (await train(wire)).json
    await ended(wire, training["id"])

    answer = await wire.ask("POST", f"/trainings/{training['id']}/cancel")

    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    assert "/predictions/" in answer.json["urls"]["get"]


async def test_a_prediction_is_no_training(wire: Wire) -> None:
    prediction = await wire.run("acme/echo", {"text": "a"})

    assert (await wire.ask("GET", f"/trainings/{prediction['id']}")).status == 404


@pytest.mark.parametrize("destination", ["dev/none", "local/storyteller", "x", ""])
async def test_a_destination_must_exist_and_belong_to_the_account(
    wire: Wire, destination: str
) -> None:
    answer = await train(wire, destination=destination)

    assert answer.status == 404
    assert header(answer, "Content-Type") == "application/problem+json"
    assert header(answer, "ratelimit-remaining") is not None
    assert answer.json == {
        "detail": "The specified training destination does not exist",
        "status": 404,
    }


async def test_the_input_is_checked_against_the_training_schema(wire: Wire) -> None:
    answer = await train(wire, input={})

    assert answer.status == 422
    assert answer.json["title"] == "Input validation failed"


async def test_not_every_version_can_be_trained(wire: Wire) -> None:
    answer = await train(wire, "acme/echo")

    assert (answer.status, answer.json["title"]) == (422, "Not trainable")


async def test_an_unknown_version_is_refused(wire: Wire) -> None:
    answer = await wire.ask(
        "POST",
        f"/models/acme/echo/versions/{'0' * 64}/trainings",
        json={"destination": "acme/echo", "input": {}},
    )

    assert answer.status == 422
    assert answer.json["title"] == "Invalid version or not permitted"
