"""Functions that stand in for typed models: test doubles that generated types check."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
import pytest
from msgspec import Meta, Struct

from replicate_async import (
    FileEncoding,
    FileInput,
    FileOutput,
    InvalidInputError,
    Replicate,
    Retry,
    Secret,
    TypedModel,
    UnprocessableEntityError,
)
from replicate_async.interface.annotations import AnnotationError
from replicate_async.interface.read import Interface
from replicate_async.interface.structs import input_struct, output_type
from replicate_async.local import LocalReplicate, ModelFunction, OutputFile
from tests.support.schemas import SCHEMAS

pytestmark = pytest.mark.anyio

VERSION: Final = "5f24084160c9089501c1b3545d9be3c27883ae2239b6f412990e82d4a6210f8f"
ENCODINGS: Final[tuple[FileEncoding, ...]] = ("upload", "data-url")


class Input(Struct, kw_only=True, frozen=True, omit_defaults=True):
    prompt: str
    width: Annotated[int, Meta(ge=256, le=1280)] = 1024
    scheduler: Literal["DDIM", "K_EULER"] = "K_EULER"
    image: FileInput | None = None
    references: list[FileInput] | None = None
    token: Secret | None = None
    guidance: float = 7.5


class Scores(Struct, kw_only=True, frozen=True):
    best: str
    score: float | None = None


MODEL: Final[TypedModel[Input, list[FileOutput]]] = TypedModel(
    f"acme/sdxl:{VERSION}", input=Input, output=list[FileOutput]
)
LLAMA: Final[TypedModel[Input, str]] = TypedModel("acme/llama", input=Input, output=str)
SCORER: Final[TypedModel[Input, Scores]] = TypedModel("acme/scorer", input=Input, output=Scores)


def client_of(server: LocalReplicate) -> Replicate:
    return Replicate(server.api_token, base_url=server.url, retry=Retry(attempts=1))


def sdxl(input: Input) -> list[OutputFile]:
    assert type(input) is Input
    return [OutputFile(f"{input.prompt} {input.width} {input.scheduler}".encode())]


async def llama(input: Input) -> AsyncIterator[str]:
    for word in input.prompt.split():
        yield f"{word} "


async def test_a_double_takes_the_input_and_gives_the_output_of_its_model() -> None:
    async with LocalReplicate(models={MODEL: sdxl}) as server, client_of(server) as client:
        [image] = await client.run(MODEL, Input(prompt="A fox", scheduler="DDIM"))

        assert await image.read() == b"A fox 1024 DDIM"


async def test_it_is_published_under_the_models_own_version() -> None:
    async with LocalReplicate(models={MODEL: sdxl}) as server, client_of(server) as client:
        model = await client.models.get("acme/sdxl")

        assert model.latest_version is not None
        assert model.latest_version.id == VERSION
        assert model.is_official is False
        run = await client.predictions.create(MODEL, Input(prompt="A fox"))
        assert run.version == VERSION


async def test_a_model_without_a_version_is_official_and_streams() -> None:
    async with LocalReplicate(models={LLAMA: llama}) as server, client_of(server) as client:
        assert (await client.models.get("acme/llama")).is_official is True
        assert await client.run(LLAMA, Input(prompt="to be or")) == "to be or "
        async with client.stream(LLAMA, Input(prompt="to be or")) as stream:
            assert [text async for text in stream.text()] == ["to ", "be ", "or "]


async def test_its_schema_is_that_of_the_types() -> None:
    schema = ModelFunction(sdxl, model=MODEL).openapi_schema["components"]["schemas"]

    assert schema["Input"]["required"] == ["prompt"]
    assert schema["Input"]["properties"]["width"] == {
        "x-order": 1,
        "title": "Width",
        "type": "integer",
        "minimum": 256,
        "maximum": 1280,
        "default": 1024,
    }
    assert schema["Output"] == {
        "type": "array",
        "items": {"type": "string", "format": "uri"},
        "title": "Output",
    }


def described(hint: Any) -> object:
    """Return what a type says, for comparison with a type that was made again."""
    kind: object = hint
    if isinstance(kind, type) and issubclass(kind, Struct):
        fields = msgspec.structs.fields(kind)
        return kind.__name__, [(f.encode_name, f.required, described(f.type)) for f in fields]
    arguments = get_args(hint)
    return (get_origin(hint), *map(described, arguments)) if arguments else hint


def any_input(given: object) -> object:
    return given


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_a_double_of_any_model_has_its_types(path: Path) -> None:
    interface = Interface.read("a/b", json.loads(path.read_text(encoding="utf-8")))
    model = TypedModel("a/b", input=input_struct(interface), output=output_type(interface))
    double = ModelFunction(any_input, model=model)

    again = Interface.read("a/b", double.openapi_schema)

    assert described(input_struct(again)) == described(model.input_type)
    assert described(output_type(again)) == described(model.output_type)


async def test_the_server_checks_an_input_as_the_client_does() -> None:
    wrong: Any = {"prompt": "A fox", "width": 1}
    async with LocalReplicate(models={MODEL: sdxl}) as server, client_of(server) as client:
        with pytest.raises(InvalidInputError) as here:
            await client.run(MODEL, wrong)
        with pytest.raises(UnprocessableEntityError) as there:
            await client.run(MODEL.ref, wrong)

    assert here.value.invalid_fields == there.value.invalid_fields


async def test_files_that_were_sent_are_paths_and_other_urls_stay_urls(tmp_path: Path) -> None:
    given: list[Input] = []

    def look(input: Input) -> str:
        given.append(input)
        assert isinstance(input.image, Path)
        return input.image.read_text()

    picture = tmp_path / "cat.txt"
    picture.write_text("a cat")
    url = "https://example.com/dog.png"
    model = TypedModel("acme/look", input=Input, output=str)
    async with LocalReplicate(models={model: look}) as server, client_of(server) as client:
        sent = Input(prompt="x", image=picture, references=[url])
        for encoding in ENCODINGS:
            assert await client.run(model, sent, file_encoding=encoding) == "a cat"

    assert given[0].references == [url]


async def test_a_secret_arrives_as_one() -> None:
    def hides(input: Input) -> str:
        assert isinstance(input.token, Secret)
        return input.token.get_secret_value()[-2:] + repr(input.token)

    model = TypedModel("acme/hides", input=Input, output=str)
    async with LocalReplicate(models={model: hides}) as server, client_of(server) as client:
        output = await client.run(model, Input(prompt="x", token=Secret("hunter2")))

    assert output == "r2Secret('**********')"


async def test_a_whole_number_may_be_written_with_a_point() -> None:
    async with LocalReplicate(models={MODEL: sdxl}) as server, client_of(server) as client:
        [image] = await client.run(MODEL.ref, {"prompt": "x", "width": 512.0, "guidance": 3})

        assert await image.read() == b"x 512 K_EULER"


async def test_a_struct_is_an_output() -> None:
    def score(input: Input) -> Scores:
        return Scores(best=input.prompt, score=0.5)

    async with LocalReplicate() as server, client_of(server) as client:
        server.add_model(SCORER, score)

        assert await client.run(SCORER, Input(prompt="x")) == Scores(best="x", score=0.5)


async def test_an_output_of_another_type_fails_the_prediction() -> None:
    def wrong(input: Input) -> object:
        return {"best": 1}

    async with LocalReplicate(models={SCORER: wrong}) as server, client_of(server) as client:
        run = await client.predictions.create(SCORER, Input(prompt="x"))
        ended = await client.predictions.wait(run)

    assert ended.status == "failed"
    assert "output.best: Invalid type. Expected: string, given: integer" in (ended.error or "")


def takes_text(prompt: str) -> str:
    return prompt


def takes_nothing() -> str:
    return ""


def yields_scores(input: Input) -> Iterator[Scores]:
    yield Scores(best=input.prompt)


@pytest.mark.parametrize(
    ("function", "model", "said"),
    [
        (takes_text, MODEL, r"takes_text\(\): it takes str; .* parameter, of type .*\.Input$"),
        (takes_nothing, MODEL, r"takes_nothing\(\): it takes nothing; a function for acme/sdxl:"),
        (yields_scores, SCORER, r"it yields, and the output of acme/scorer is Scores$"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(
    function: Callable[..., object], model: TypedModel[Any, Any], said: str
) -> None:
    with pytest.raises(AnnotationError, match=said):
        LocalReplicate(models={model: function})


async def test_a_double_may_be_annotated_with_a_name_that_only_the_test_has() -> None:
    from tests.local import test_typed_models as poet

    def fake(input: poet.Input) -> str:
        return input.prompt

    async with LocalReplicate(models={LLAMA: fake}) as server, client_of(server) as client:
        assert await client.run(LLAMA, Input(prompt="rain")) == "rain"


async def test_a_class_with_setup_and_a_lambda_work_too() -> None:
    class Warm:
        def setup(self) -> None:
            self.prefix = "warm "

        def predict(self, input: Input) -> str:
            return self.prefix + input.prompt

    cold = TypedModel("acme/cold", input=Input, output=str)
    echo: Callable[[Input], str] = lambda given: given.prompt  # noqa: E731 - it has no annotation
    models: dict[TypedModel[Any, Any], Callable[..., object]] = {LLAMA: Warm, cold: echo}
    async with LocalReplicate(models=models) as server, client_of(server) as client:
        assert await client.run(LLAMA, Input(prompt="fox")) == "warm fox"
        assert await client.run(cold, Input(prompt="fox")) == "fox"
