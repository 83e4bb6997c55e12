from __future__ import annotations

import asyncio

import pytest

from replicate_async import (
    NotFoundError,
    Replicate,
    Training,
    UnprocessableEntityError,
)
from replicate_async.local import LocalReplicate, Weights
from tests.resources.test_deployments import version_of

pytestmark = pytest.mark.anyio

TEXT = "Once there was a king. The king had a golden ball. The ball had a king."


async def train(client: Replicate, model: str = "local/storyteller", **input: object) -> Training:
    return await client.trainings.create(
        f"{model}:{await version_of(client, model)}",
        destination="dev/tales",
        input=input or {"text": TEXT},
    )


@pytest.fixture(autouse=True)
async def tales(client: Replicate) -> None:
    await client.models.create("dev/tales", visibility="private", hardware="cpu")


async def test_the_input_may_come_by_position_as_that_of_a_prediction(client: Replicate) -> None:
    made = await client.trainings.create(
        "local/storyteller", {"text": TEXT}, destination="dev/tales"
    )

    assert made.input == {"text": TEXT}


async def test_the_address_of_a_file_is_no_text_to_learn_from(client: Replicate) -> None:
    ended = await client.trainings.wait(await train(client, text=TEXT.encode()))

    assert ended.status == "failed"
    assert "path.read_text()" in str(ended.error)


async def test_a_training_makes_a_version_that_runs(client: Replicate) -> None:
    made = await train(client)
    assert made.status in {"starting", "processing"}

    ended = await client.trainings.wait(made)

    assert (ended.id, ended.status, ended.model) == (made.id, "succeeded", "local/storyteller")
    assert ended.input == {"text": TEXT}
    assert ended.output is not None
    assert ended.output.version is not None
    assert ended.output.weights is not None
    assert ended.progress is not None
    assert ended.progress.percentage == 1
    assert ended.metrics is not None
    assert ended.metrics["predict_time"] > 0
    model = await client.models.get("dev/tales")
    assert model.latest_version is not None
    assert ended.output.version == f"dev/tales:{model.latest_version.id}"
    story = await client.run(
        ended.output.version,
        {"prompt": "Once", "max_tokens": 12, "delay_ms": 0, "seed": 1},
        type=str,
    )
    assert set(story.replace(".", " ").split()) <= set(TEXT.replace(".", " ").split())


async def test_training_urls_that_point_at_predictions_work(
    server: LocalReplicate, client: Replicate
) -> None:
    made = await train(client)

    assert made.urls.get == f"{server.url}/predictions/{made.id}"
    assert (await client.trainings.get(made)).urls.get == f"{server.url}/trainings/{made.id}"
    assert (await client.trainings.wait(made)).status == "succeeded"
    assert (await client.predictions.get(made.id)).status == "succeeded"


async def test_trainings_are_listed_newest_first_and_apart_from_predictions(
    client: Replicate,
) -> None:
    first = await train(client)
    await client.predictions.create("local/echo", {"value": 1})
    second = await train(client)

    assert [item.id async for item in client.trainings.list()] == [second.id, first.id]


async def test_a_training_is_cancelled(server: LocalReplicate, client: Replicate) -> None:
    server.model("acme/slow", train=_train)(_predict)
    made = await train(client, "acme/slow", steps=1)

    canceled = await client.trainings.cancel(made)

    assert (canceled.id, canceled.status) == (made.id, "canceled")
    assert (await client.trainings.wait(made)).status == "canceled"
    again = await client.trainings.cancel(made.id)
    assert (again.status, again.completed_at) == ("canceled", canceled.completed_at)


async def _predict(text: str = "", weights: Weights | None = None) -> str:
    return text


async def _train(steps: int) -> Weights:
    await asyncio.sleep(3600)
    return Weights(b"")


async def test_the_destination_must_exist_and_belong_to_the_account(
    server: LocalReplicate, client: Replicate
) -> None:
    version = f"local/storyteller:{await version_of(client, 'local/storyteller')}"

    for destination in ("dev/nothing", "local/echo"):
        with pytest.raises(NotFoundError) as caught:
            await client.trainings.create(version, destination=destination, input={"text": TEXT})
        assert caught.value.detail == "The specified training destination does not exist"


async def test_the_version_must_exist_and_be_trainable(client: Replicate) -> None:
    with pytest.raises(NotFoundError):
        await client.trainings.create(
            "acme/nothing:" + "0" * 64, destination="dev/tales", input={"text": TEXT}
        )
    with pytest.raises(UnprocessableEntityError, match="Invalid version or not permitted"):
        await client.trainings.create(
            "local/storyteller:" + "0" * 64, destination="dev/tales", input={"text": TEXT}
        )
    with pytest.raises(UnprocessableEntityError, match="cannot be trained"):
        await train(client, "local/echo", value=1)


async def test_the_input_is_that_of_the_training(client: Replicate) -> None:
    with pytest.raises(UnprocessableEntityError) as caught:
        await train(client, prompt="a model's input, not a training's")

    (field,) = caught.value.invalid_fields
    assert (field.type, field.description) == ("required", "text is required")


async def test_unknown_trainings_are_not_found(server: LocalReplicate, client: Replicate) -> None:
    made = await train(client)
    prediction = await client.predictions.create("local/echo", {"value": 1})
    stranger = client.with_options(api_token=server.add_account("stranger"))

    for call in (
        client.trainings.get("nothing"),
        client.trainings.cancel("nothing"),
        client.trainings.get(prediction.id),
        stranger.trainings.get(made),
        stranger.trainings.cancel(made),
    ):
        with pytest.raises(NotFoundError):
            await call
