from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from replicate_async import (
    BatchTimeouts,
    DecodeError,
    FileOutput,
    InvalidArgumentError,
    InvalidInputError,
    Prediction,
    Replicate,
    Secret,
    TypedModel,
    UnprocessableEntityError,
)
from replicate_async.context import context_of
from replicate_async.local import LocalReplicate
from replicate_async.refs import parse_deployment, parse_target, parse_version
from replicate_async.runs.batch.lost_creates.matching import is_of_model
from tests.resources.test_deployments import deploy, version_of
from tests.typed_models import painter, writer

pytestmark = pytest.mark.anyio

WRONG: dict[str, object] = {"prompt": "A fox", "width": 2048, "scheduler": "KEULER"}


def quick(prompt: str) -> writer.Input:
    return writer.Input(prompt=prompt, max_tokens=4, seed=1, delay_ms=0)


async def test_a_run_sends_what_differs_and_returns_the_type(client: Replicate) -> None:
    seen: list[Prediction] = []
    files = await client.run(
        painter.MODEL,
        painter.Input(prompt="A fox", width=1024, image=b"1234", token=Secret("hunter22")),
        on_update=seen.append,
    )

    assert [type(file) for file in files] == [FileOutput]
    assert b"A fox 1024 K_EULER 4 8" in await files[0].read()
    assert set(seen[0].input or {}) == {"prompt", "image", "token"}
    assert "width" in cast("dict[str, Any]", (await created(client, WIDE)).input)


WIDE: dict[str, object] = {"prompt": "A fox", "width": 1024}


async def created(client: Replicate, given: dict[str, object]) -> Prediction:
    """Create a prediction of a mapping, which is sent as it is given."""
    return await client.predictions.create(painter.MODEL, cast("Any", given))


async def test_the_text_of_a_model_that_writes_in_pieces_is_joined(client: Replicate) -> None:
    text = await client.run(writer.MODEL, quick("The sea"))

    assert isinstance(text, str)
    assert text


async def test_a_stream_of_a_typed_model_is_the_same_stream(client: Replicate) -> None:
    async with client.stream(writer.MODEL, quick("The sea")) as stream:
        text = "".join([part async for part in stream.text()])

    assert text == await client.run(writer.MODEL, quick("The sea"))


async def test_the_results_of_a_batch_have_the_type(client: Replicate) -> None:
    prompts = ["One", "Two", "Three"]
    batch = client.batch(painter.MODEL, (painter.Input(prompt=each) for each in prompts))

    async for result in batch:
        [file] = result.unwrap()
        assert isinstance(file, FileOutput)
        assert prompts[result.index].encode() in await file.read()


async def test_nothing_is_sent_of_an_input_that_is_refused(
    client: Replicate, tmp_path: Path
) -> None:
    image = tmp_path / "large.png"
    image.write_bytes(bytes(300_000))
    wrong = cast("Any", {**WRONG, "image": image})
    deployments = client.deployments

    for refused in (
        lambda: client.run(painter.MODEL, wrong),
        lambda: client.predictions.create(painter.MODEL, wrong),
        lambda: deployments.predictions.create("dev/prod", wrong, model=painter.MODEL),
        lambda: deployments.run("dev/prod", wrong, model=painter.MODEL),
        lambda: client.trainings.create(
            writer.MODEL, destination="dev/tales", input=cast("Any", {"text": ""})
        ),
    ):
        with pytest.raises(InvalidInputError):
            await refused()
    with pytest.raises(InvalidInputError):  # at the call, before the block is entered
        client.stream(painter.MODEL, wrong)
    with pytest.raises(InvalidInputError):
        deployments.stream("dev/prod", wrong, model=painter.MODEL)

    assert context_of(client).requests_sent == 0


@pytest.mark.parametrize("journal", [True, False])
async def test_an_item_that_is_refused_is_a_failed_item_and_costs_no_request(
    client: Replicate, tmp_path: Path, journal: bool
) -> None:
    path = tmp_path / "run.db" if journal else None
    wrong: list[Any] = [WRONG, {**WRONG, "zzz": 1}]

    results = [each async for each in client.batch(painter.MODEL, wrong, journal=path)]

    assert [type(each.error) for each in results] == [InvalidInputError] * 2
    assert context_of(client).requests_sent == 0
    with pytest.raises(InvalidInputError, match="2 inputs of dev/painter are wrong"):
        async for _ in client.batch(painter.MODEL, wrong, on_error="raise"):
            pass
    assert context_of(client).requests_sent == 0


async def test_the_other_items_of_a_batch_are_run(client: Replicate) -> None:
    inputs = [painter.Input(prompt="A fox"), painter.Input(prompt="A cat", width=1)]
    results = {each.index: each async for each in client.batch(painter.MODEL, inputs)}

    assert results[0].ok
    assert str(results[1].error).startswith("dev/painter: width=1 is too small;")
    assert results[1].prediction is None


async def test_a_key_that_is_no_input_is_not_checked_and_not_sent(
    client: Replicate, tmp_path: Path
) -> None:
    rows = cast("Any", [{"id": 7, "prompt": "A fox"}, {"id": 8, "prompt": "A fox", "zzz": 1}])
    batch = client.batch(painter.MODEL, rows, key="id", journal=tmp_path / "run.db")
    results = {each.key: each async for each in batch}

    assert results["7"].ok
    assert results["7"].prediction is not None
    assert results["7"].prediction.input == {"prompt": "A fox"}
    assert "zzz: there is no such input" in str(results["8"].error)


async def test_what_prepare_makes_is_checked(client: Replicate) -> None:
    async def prepare(width: dict[str, int]) -> painter.Input:
        return painter.Input(prompt="A fox", width=width["width"])

    batch = client.batch(painter.MODEL, [{"width": 512}, {"width": 1}], prepare=prepare)
    results = {each.index: each async for each in batch}

    assert results[0].ok
    assert str(results[1].error).startswith("dev/painter: width=1 is too small;")


async def test_a_dry_run_names_the_items_that_would_be_refused(client: Replicate) -> None:
    inputs = cast("Any", [{"prompt": "A fox"}, {"prompt": "A fox", "zzz": 1}])
    results = {each.index: each async for each in client.batch(painter.MODEL, inputs, dry_run=True)}

    assert results[0].ok
    assert "zzz: there is no such input" in str(results[1].error)
    assert context_of(client).requests_sent == 0


async def test_a_resume_returns_what_was_paid_for_though_its_types_now_refuse_it(
    client: Replicate, tmp_path: Path
) -> None:
    given = cast("Any", [{"prompt": "A fox", "width": 256}])
    journal = tmp_path / "run.db"
    [first] = [each async for each in client.batch("dev/painter", given, journal=journal)]
    assert first.ok

    class Input(msgspec.Struct, kw_only=True, omit_defaults=True):
        prompt: str

    narrow = TypedModel("dev/painter", input=Input, output=list[FileOutput])
    [again] = [each async for each in client.batch(narrow, given, journal=journal)]

    assert again.ok
    assert again.resumed
    assert again.output == first.output


async def test_a_regenerated_default_changes_no_digest(client: Replicate, tmp_path: Path) -> None:
    class Input(msgspec.Struct, kw_only=True, omit_defaults=True):
        prompt: str
        width: int = 512

    newer = TypedModel("dev/painter", input=Input, output=list[FileOutput])
    journal = tmp_path / "run.db"
    old, new = painter.Input(prompt="A fox"), Input(prompt="A fox")
    [first] = [each async for each in client.batch(painter.MODEL, [old], journal=journal)]
    [again] = [each async for each in client.batch(newer, [new], journal=journal)]

    assert (again.key, again.resumed) == (first.key, True)


CASES: dict[str, dict[str, object]] = {
    "bounds": {"prompt": "A fox", "width": 2048},
    "types": {"prompt": 1, "width": "512"},
    "missing": {"width": 512},
    "choice": {"prompt": "A fox", "scheduler": "KEULER"},
    "all": {"width": 1, "scheduler": 1, "image": "cat.png"},
}


@pytest.mark.parametrize("case", CASES)
async def test_the_invalid_fields_are_those_of_the_api(client: Replicate, case: str) -> None:
    with pytest.raises(UnprocessableEntityError) as refused:
        await client.predictions.create("dev/painter", CASES[case])
    with pytest.raises(InvalidInputError) as raised:
        await created(client, CASES[case])

    assert raised.value.invalid_fields == refused.value.invalid_fields


async def test_a_typed_model_has_a_type_of_its_own(client: Replicate) -> None:
    run = cast("Any", client.run)

    for options in ({"type": str}, {"files": False}):
        with pytest.raises(InvalidArgumentError, match="is not for a TypedModel"):
            await run(painter.MODEL, painter.Input(prompt="A fox"), **options)
    assert context_of(client).requests_sent == 0


async def test_an_output_of_another_type_is_kept_in_the_error(client: Replicate) -> None:
    model = TypedModel("dev/painter", input=painter.Input, output=dict[str, int])

    with pytest.raises(DecodeError) as raised:
        await client.run(model, painter.Input(prompt="A fox"))

    ended = raised.value.prediction
    assert ended is not None
    assert ended.status == "succeeded"
    [file] = client.parse_output(ended)
    assert b"A fox" in await file.read()
    assert raised.value.__notes__ == [
        (
            "The types of dev/painter were generated from schema 3f2a1b0c9d8e; see "
            f"'replicate-async types --check {painter.__file__}'."
        )
    ]
    [result] = [each async for each in client.batch(model, [painter.Input(prompt="A fox")])]
    assert isinstance(result.error, DecodeError)
    assert result.error.prediction is not None


async def test_any_output_is_what_a_run_without_a_type_returns(client: Replicate) -> None:
    model: TypedModel[painter.Input, Any]
    model = TypedModel("dev/painter", input=painter.Input, output=Any)

    output = await client.run(model, painter.Input(prompt="A fox"))

    assert isinstance(output[0], FileOutput)


class Wider(msgspec.Struct, kw_only=True, omit_defaults=True):
    prompt: str
    width: int = 1024


@pytest.mark.parametrize("pinned", [True, False])
async def test_a_refusal_of_the_api_notes_that_floating_types_may_be_old(
    client: Replicate, pinned: bool
) -> None:
    version = f":{await version_of(client, 'dev/painter')}" if pinned else ""
    model: TypedModel[Wider, Any]
    model = TypedModel(f"dev/painter{version}", input=Wider, output=Any)

    with pytest.raises(UnprocessableEntityError) as refused:
        await client.run(model, Wider(prompt="A fox", width=5000))

    notes = getattr(refused.value, "__notes__", [])
    assert [note.partition(";")[0] for note in notes] == (
        [] if pinned else ["The types of dev/painter may be older than the model"]
    )


@pytest.fixture
async def prod(client: Replicate) -> str:
    """The deployment "dev/prod" of the painter."""
    await deploy(client, model="dev/painter", version=await version_of(client, "dev/painter"))
    return "dev/prod"


async def test_a_deployment_runs_streams_and_batches(client: Replicate, prod: str) -> None:
    given = painter.Input(prompt="A fox", width=512)

    [typed] = await client.deployments.run(prod, given, model=painter.MODEL)
    [untyped] = await client.deployments.run(prod, {"prompt": "A fox", "width": 512})
    urls = await client.deployments.run(prod, {"prompt": "A fox"}, files=False)
    text = await client.deployments.run(prod, {"prompt": "A fox"}, type=list[str])

    assert b"A fox 512" in await typed.read()
    assert b"A fox 512" in await untyped.read()
    assert isinstance(urls[0], str)
    assert isinstance(text[0], str)
    async with client.deployments.stream(prod, given, model=painter.MODEL) as stream:
        parts = [part async for part in stream.text()]
        assert len(parts) == 1
        assert stream.prediction.deployment == prod
    batch = client.deployments.batch(prod, [given, given], model=painter.MODEL)
    results = [each async for each in batch]
    assert [len(each.unwrap()) for each in results] == [1, 1]
    assert {each.prediction.deployment for each in results if each.prediction} == {prod}
    prediction = await client.deployments.predictions.create(prod, given, model=painter.MODEL)
    assert prediction.deployment == prod


async def test_the_types_of_a_deployment_are_a_typed_model(client: Replicate) -> None:
    with pytest.raises(InvalidArgumentError, match="model='dev/painter' must be a TypedModel"):
        await client.deployments.run("dev/prod", cast("Any", {}), model=cast("Any", "dev/painter"))


async def test_a_batch_of_a_deployment_resumes_as_one_of_the_deployment(
    client: Replicate, prod: str, tmp_path: Path
) -> None:
    journal = tmp_path / "run.db"
    given = [{"prompt": "A fox"}]
    [first] = [each async for each in client.deployments.batch(prod, given, journal=journal)]
    [again] = [each async for each in client.deployments.batch(prod, given, journal=journal)]

    assert again.resumed
    assert again.prediction is not None
    assert first.prediction is not None
    assert again.prediction.id == first.prediction.id


@pytest.mark.parametrize("performed", [True, False])
async def test_a_lost_create_of_a_deployment_is_found_or_made_once(
    server: LocalReplicate, client: Replicate, prod: str, tmp_path: Path, performed: bool
) -> None:
    version = await version_of(client, "dev/painter")
    await deploy(client, "test", model="dev/painter", version=version)
    await client.deployments.run("dev/test", {"prompt": "A fox"})  # which is like it
    server.faults.add("deployments.predictions.create", reset=True, cut_after=0, perform=performed)
    waits = BatchTimeouts(settle=0.05, margin=0.05)

    batch = client.deployments.batch(
        prod, [{"prompt": "A fox"}], journal=tmp_path / "run.db", batch_timeouts=waits
    )
    [result] = [each async for each in batch]

    made = [each async for each in client.predictions.list() if each.deployment == prod]
    assert len(made) == 1
    assert result.prediction is not None
    assert (result.ok, result.prediction.id) == (True, made[0].id)


DEPLOYMENT = parse_deployment("dev/prod")


@pytest.mark.parametrize(
    ("shown", "verdict"),
    [
        ({"deployment": "dev/prod"}, "yes"),
        ({"deployment": "dev/prod", "model": "dev/painter", "version": "1" * 64}, "yes"),
        ({"deployment": "dev/other"}, "no"),
        ({"model": "dev/painter", "version": "1" * 64}, "perhaps"),
    ],
)
def test_a_prediction_that_names_no_deployment_may_be_of_one(
    shown: dict[str, str], verdict: str
) -> None:
    found = Prediction(id="abc", status="succeeded", **cast("Any", shown))

    assert is_of_model(found, DEPLOYMENT) == verdict
    assert is_of_model(found, parse_version("dev/prod")) in {"no", "perhaps"}


def test_a_deployment_is_no_model_of_the_same_name() -> None:
    assert str(DEPLOYMENT) == "deployments/dev/prod"
    assert parse_target(str(DEPLOYMENT)) == DEPLOYMENT
    assert parse_target("dev/prod") == parse_version("dev/prod") != DEPLOYMENT
    with pytest.raises(InvalidArgumentError, match="deployment="):
        parse_deployment("prod")


async def test_a_training_checks_its_own_input(client: Replicate) -> None:
    await client.models.create("dev/tales", visibility="private", hardware="cpu")
    text = "Once there was a king. The king had a golden ball."

    training = await client.trainings.create(
        writer.MODEL, destination="dev/tales", input=writer.TrainingInput(text=text)
    )

    assert training.input == {"text": text}
    assert (await client.trainings.wait(training)).status == "succeeded"
    with pytest.raises(InvalidInputError, match=r"takes a writer\.TrainingInput or"):
        await client.trainings.create(writer.MODEL, destination="dev/tales", input=quick("The sea"))
    with pytest.raises(InvalidArgumentError, match="has no types for the input of a training"):
        await client.trainings.create(
            painter.MODEL, destination="dev/tales", input=painter.Input(prompt="A fox")
        )


async def test_a_training_of_a_model_looks_up_its_latest_version(client: Replicate) -> None:
    await client.models.create("dev/tales", visibility="private", hardware="cpu")

    training = await client.trainings.create(
        "local/storyteller", destination="dev/tales", input={"text": "A king. A ball."}
    )

    assert training.version == await version_of(client, "local/storyteller")
    await client.models.create("dev/empty", visibility="private", hardware="cpu")
    with pytest.raises(InvalidArgumentError, match="dev/empty has no version yet"):
        await client.trainings.create("dev/empty", destination="dev/tales", input={"text": "A"})
