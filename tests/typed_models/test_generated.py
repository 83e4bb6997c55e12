"""Modules that the generator writes for the built-in models, against the embedded server."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from replicate_async import BoundModel, FileOutput, InvalidInputError, Replicate
from tests.resources.test_deployments import deploy

pytestmark = pytest.mark.anyio


@contextmanager
def module_of(model: BoundModel[Any, Any]) -> Generator[Any]:
    """Return the module of types for *model*, imported."""
    module = ModuleType(f"generated_{model.ref.partition('/')[2]}")
    sys.modules[module.__name__] = module  # where msgspec looks up annotations
    try:
        exec(compile(model.source(), module.__name__, "exec"), vars(module))
        yield module
    finally:
        del sys.modules[module.__name__]


@pytest.fixture
async def tales(client: Replicate) -> AsyncIterator[Any]:
    """The module of ``local/storyteller``."""
    with module_of(await client.use("local/storyteller")) as module:
        yield module


@pytest.fixture
def sea(tales: Any) -> Any:
    return tales.Input(prompt="The sea", max_tokens=4, seed=1, delay_ms=0)


async def test_a_text_is_run_streamed_and_batched(client: Replicate, tales: Any, sea: Any) -> None:
    text = await client.run(tales.MODEL, sea)

    async with client.stream(tales.MODEL, sea) as stream:
        assert "".join([part async for part in stream.text()]) == text
    results = [each async for each in client.batch(tales.MODEL, [sea, sea])]
    assert [each.unwrap() for each in results] == [text, text]
    assert isinstance(text, str)
    assert text


async def test_a_training_and_a_deployment_of_it(client: Replicate, tales: Any, sea: Any) -> None:
    await client.models.create("dev/tales", visibility="private", hardware="cpu")
    model = await client.use("local/storyteller")
    await deploy(client, model=model.ref, version=model.version or "")

    text = await client.deployments.run("dev/prod", sea, model=tales.MODEL)
    lines = tales.TrainingInput(text="A king. A ball.")
    training = await client.trainings.create(tales.MODEL, destination="dev/tales", input=lines)

    assert text == await client.run(tales.MODEL, sea)
    assert (await client.trainings.wait(training)).status == "succeeded"
    with pytest.raises(InvalidInputError, match="text is required: a string"):
        await client.trainings.create(tales.MODEL, destination="dev/tales", input={})


async def test_a_picture_has_choices_and_bounds(client: Replicate) -> None:
    with module_of(await client.use("local/mandelbrot")) as fractal:
        picture = await client.run(fractal.MODEL, fractal.Input(width=16, palette="ocean"))
        with pytest.raises(InvalidInputError, match='did you mean "ocean"'):
            await client.run(fractal.MODEL, fractal.Input(palette="oceans"))
        with pytest.raises(
            InvalidInputError, match=r"width=1 is too small; it takes .* 16\.\.1024"
        ):
            await client.run(fractal.MODEL, fractal.Input(width=1))

    assert isinstance(picture, FileOutput)


async def test_every_built_in_model_checks_its_own_default_example(client: Replicate) -> None:
    async for model in client.models.list():
        example = model.default_example
        handle = await client.use(f"{model.owner}/{model.name}")
        with module_of(handle) as module:
            if example is not None and example.input is not None:
                handle.check(example.input)
                module.MODEL.check(example.input)
            assert module.MODEL.ref.startswith(f"{model.owner}/{model.name}")
