from __future__ import annotations

import inspect
import json
import pickle
import pydoc
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Annotated, Any, Literal

import msgspec
import pytest

from replicate_async import (
    BoundModel,
    FileOutput,
    InvalidArgumentError,
    InvalidInputError,
    NotFoundError,
    Replicate,
    Secret,
)
from replicate_async.context import context_of
from replicate_async.local import Input, LocalReplicate
from tests.resources.test_deployments import deploy, version_of
from tests.support import replies
from tests.support.fault_server import FaultServer
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


def html_of(model: Any) -> str:
    html: str = model._repr_html_()
    return html


async def test_a_model_is_a_function_of_its_inputs(client: Replicate) -> None:
    painter = await client.use("dev/painter")

    [file] = await painter(prompt="A fox", width=512, token="hunter22")
    [same] = await painter.run({"prompt": "A fox", "width": 512}, timeout=60)

    assert isinstance(file, FileOutput)
    assert b"A fox 512 K_EULER 0 8" in await file.read()
    assert isinstance(same, FileOutput)


async def test_one_request_reads_the_schema_and_a_run_looks_nothing_up(client: Replicate) -> None:
    painter = await client.use("dev/painter")
    assert context_of(client).requests_sent == 1

    created = await painter.create({"prompt": "A fox"})

    assert context_of(client).requests_sent == 2
    assert created.version == painter.version == await version_of(client, "dev/painter")


async def test_a_handle_goes_on_with_the_version_that_it_has_read(
    server: LocalReplicate, client: Replicate
) -> None:
    painter = await client.use("dev/painter")

    @server.model("dev/painter")
    def newer(text: str) -> str:
        return text

    [file] = await painter(prompt="A fox")
    assert isinstance(file, FileOutput)
    assert await (await client.use("dev/painter"))(text="A fox") == "A fox"


async def test_keyword_arguments_are_inputs_and_nothing_else(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("dev/odd")
    def odd(input: str, type: str, self: str, stream: bool = False) -> dict[str, Any]:
        return {"input": input, "type": type, "self": self, "stream": stream}

    model = await client.use("dev/odd")

    output = await model(input="a", type="b", self="c", stream=True)
    assert msgspec.to_builtins(output) == {"input": "a", "type": "b", "self": "c", "stream": True}


async def test_a_mistake_costs_nothing_and_says_what_was_meant(client: Replicate) -> None:
    painter = await client.use("dev/painter")

    with pytest.raises(InvalidInputError) as raised:
        await painter(prompt="A fox", schedular="DDIM")
    assert str(raised.value) == (
        "dev/painter: schedular: there is no such input; did you mean scheduler?"
    )
    with pytest.raises(InvalidInputError, match="width=1 is too small"):
        painter.stream({"prompt": "A fox", "width": 1})
    with pytest.raises(InvalidInputError, match="prompt is required"):
        painter.check({})
    [failed] = [each async for each in painter.batch([{"width": 1}])]
    assert isinstance(failed.error, InvalidInputError)
    assert context_of(client).requests_sent == 1


async def test_a_handle_streams_and_batches(client: Replicate) -> None:
    writer = await client.use("local/storyteller")
    given = {"prompt": "The sea", "max_tokens": 4, "seed": 1, "delay_ms": 0}

    text = await writer(**given)
    async with writer.stream(given) as stream:
        assert "".join([part async for part in stream.text()]) == text
    results = [each async for each in writer.batch([given, given])]

    assert isinstance(text, str)
    assert [each.unwrap() for each in results] == [text, text]


async def test_the_signature_is_that_of_the_inputs(client: Replicate) -> None:
    painter: BoundModel[Any, Any] = await client.use("dev/painter")
    signature = inspect.signature(painter)

    assert list(signature.parameters) == ["prompt", "width", "scheduler", "image", "token"]
    width = signature.parameters["width"]
    assert (width.kind, width.default) == (width.KEYWORD_ONLY, 1024)
    assert width.annotation == Annotated[int, msgspec.Meta(ge=256, le=1280)]
    assert signature.parameters["scheduler"].annotation == Literal["DDIM", "K_EULER"]
    assert signature.parameters["prompt"].default is inspect.Parameter.empty
    assert signature.return_annotation == list[FileOutput]
    assert painter.output_type == list[FileOutput]
    assert list(painter.inputs) == list(signature.parameters)
    with pytest.raises(TypeError):
        signature.bind("A fox")


async def test_help_and_a_notebook_show_the_inputs(client: Replicate) -> None:
    painter = await client.use("dev/painter")
    text = pydoc.render_doc(painter, renderer=vars(pydoc)["plaintext"])

    assert "prompt: a string, required." in text
    assert "width: an integer 256..1280; by default 1024." in text
    assert 'scheduler: one of "DDIM", "K_EULER"; by default "K_EULER".' in text
    assert "list[replicate_async.files.output.FileOutput]" in text
    html = html_of(painter)
    for cell in ("width", "integer", "1024", "256..1280", "&quot;DDIM&quot;", "required"):
        assert f">{cell}" in html
    assert repr(painter) == "<BoundModel dev/painter>"


async def test_a_table_of_inputs_escapes_the_words_of_a_model(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("dev/sly")
    def sly(
        text: Annotated[str, Input(description="<script>alert(1)</script>\n\x1b[2J")] = "<b>",
    ) -> str:
        return text

    handle = await client.use("dev/sly")

    assert "<script>" not in html_of(handle)
    assert "<b>" not in html_of(handle)
    assert "&lt;script&gt;" in html_of(handle)


async def test_a_version_is_named_and_a_bare_id_is_refused(client: Replicate) -> None:
    version = await version_of(client, "dev/painter")
    before = context_of(client).requests_sent

    pinned = await client.use(f"dev/painter:{version}")
    assert pinned.version == version
    assert context_of(client).requests_sent == before + 1
    with pytest.raises(InvalidArgumentError, match="the id of a version alone"):
        await client.use(version)
    with pytest.raises(InvalidArgumentError, match="either a model or deployment="):
        await client.use()
    assert context_of(client).requests_sent == before + 1
    with pytest.raises(NotFoundError):
        await client.use("dev/nothing")


async def test_a_deployment_is_used_by_the_schema_of_its_release(client: Replicate) -> None:
    with pytest.raises(NotFoundError):
        await client.use(deployment="dev/prod")
    version = await version_of(client, "dev/painter")
    await deploy(client, model="dev/painter", version=version)

    prod = await client.use(deployment="dev/prod")
    created = await prod.create({"prompt": "A fox"})
    [file] = await prod(prompt="A fox", width=512)
    async with prod.stream({"prompt": "A fox"}) as stream:
        assert stream.prediction.deployment == "dev/prod"

    assert (prod.ref, prod.version) == ("dev/prod", version)
    assert created.deployment == "dev/prod"
    assert b"A fox 512" in await file.read()
    with pytest.raises(InvalidInputError, match="dev/prod: width=1 is too small"):
        await prod(prompt="A fox", width=1)
    assert f'"dev/painter:{version}"' in prod.source()


async def test_the_source_of_a_handle_is_a_module_whose_model_runs(client: Replicate) -> None:
    painter = await client.use("dev/painter")
    module = ModuleType("made_by_a_test")

    sys.modules[module.__name__] = module  # where msgspec looks up annotations
    try:
        exec(compile(painter.source(), "painter.py", "exec"), vars(module))
        [file] = await client.run(module.MODEL, module.Input(prompt="A fox", width=512))
    finally:
        del sys.modules[module.__name__]

    assert module.MODEL.ref == f"dev/painter:{painter.version}"
    assert b"A fox 512" in await file.read()


async def test_every_built_in_model_can_be_used(client: Replicate) -> None:
    names = [f"{model.owner}/{model.name}" async for model in client.models.list()]

    for name in names:
        model = await client.use(name)
        assert list(inspect.signature(model).parameters) == list(model.inputs)
        assert model.openapi_schema
        compile(model.source(), name, "exec")
    assert len(names) >= 7


class Shop:
    """Answers as the service does about one model, and keeps what predictions are created with."""

    def __init__(self, document: dict[str, Any] | None, *, official: bool = False) -> None:
        self._version = {**replies.version(), "openapi_schema": document}
        self._official = official
        self.created: list[tuple[str, Any]] = []

    def __call__(self, request: Request) -> Answer:
        base = f"http://{request.header('Host')}/v1"
        if request.method == "GET":
            about = {"latest_version": self._version, "is_official": self._official}
            return replies.json_answer({**replies.model(), **about})
        self.created.append((request.path, json.loads(request.body)))
        return replies.json_answer(replies.prediction(base), 201)


@asynccontextmanager
async def shop(
    document: dict[str, Any] | None, *, official: bool = False
) -> AsyncGenerator[tuple[Shop, BoundModel[Any, Any]]]:
    """Return a service with one model, and the model in use."""
    service = Shop(document, official=official)
    async with (
        FaultServer(service) as server,
        Replicate(TOKEN, base_url=server.url) as client,
    ):
        yield service, await client.use("acme/echo")


def document(**properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"components": {"schemas": {"Input": schema, "Output": {"type": "string"}}}}


async def test_an_input_whose_name_is_no_identifier_is_given_by_either_name() -> None:
    named = document(**{"my-text": {"type": "string"}, "class": {"type": "integer"}})

    async with shop(named) as (service, model):
        await model(my_text="a", class_=1)
        await model(**{"my-text": "b"})
        with pytest.raises(InvalidInputError, match="did you mean my-text"):
            await model(mytext="c")

    assert list(inspect.signature(model).parameters) == ["my_text", "class_"]
    inputs = [body["input"] for _, body in service.created]
    assert inputs == [{"my-text": "a", "class": 1}, {"my-text": "b"}]


async def test_an_official_model_runs_without_a_version() -> None:
    async with shop(document(text={"type": "string"}), official=True) as (service, model):
        await model(text="a")

    assert [path for path, _ in service.created] == ["/v1/models/acme/echo/predictions"]
    assert '"acme/echo"' in model.source()
    assert "Schema: " in model.source()


@pytest.mark.parametrize("schema", [None, {}, {"components": {"schemas": {}}}], ids=str)
async def test_a_model_without_a_schema_takes_anything(schema: dict[str, Any] | None) -> None:
    async with shop(schema) as (service, model):
        assert await model(anything=[1]) == "Hello."
        model.check({"anything": 1})
        assert str(inspect.signature(model)) == "(**inputs: Any) -> Any"
        assert model.output_type is Any
        with pytest.raises(InvalidArgumentError, match="has no schema to make types of"):
            model.source()
        assert html_of(model)

    assert service.created[0][1]["input"] == {"anything": [1]}


async def test_a_handle_is_not_pickled(client: Replicate) -> None:
    painter = await client.use("dev/painter")

    with pytest.raises(TypeError, match="is not pickled"):
        pickle.dumps(painter)


async def test_a_secret_of_a_call_is_not_shown(client: Replicate) -> None:
    painter = await client.use("dev/painter")

    with pytest.raises(InvalidInputError) as raised:
        await painter(prompt="A fox", token=Secret("hunter22"), width=Secret("hunter22"))
    assert "hunter22" not in str(raised.value)
