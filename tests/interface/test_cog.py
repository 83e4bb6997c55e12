"""Models written for Cog 0.23 run as they are, and publish what Cog publishes.

`python tests/data/cog/publish.py`, where Cog is installed, writes the schemas again.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

from replicate_async.interface.read import Interface, mapping, resolve
from replicate_async.interface.source import module_source
from replicate_async.interface.validation import validate
from replicate_async.local import ModelFunction
from tests.local.recording import RecordingContext

pytestmark = pytest.mark.anyio

MODELS: Final = Path(__file__).parent.parent / "data" / "cog"
NAMES: Final = ("captions", "images", "tokens")
IMAGE: Final = "https://files.test/cat.png"


def published(name: str) -> dict[str, Any]:
    """Return the schema that Cog publishes for one of the models."""
    document: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))
    return document


def runner(name: str) -> Any:
    """Return the class that is the model; skip the test where Cog is not installed."""
    pytest.importorskip("cog", reason="the integrations session installs it")
    spec = importlib.util.spec_from_file_location(f"cog_{name}", MODELS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module.Runner


def meaning(document: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a schema, in one way to write them.

    Cog writes a default of null, repeats nullable in each alternative, and says nothing of what is
    in an object.
    """
    components = document["components"]["schemas"]
    found: dict[str, Any] = {}
    for name, part in components["Input"]["properties"].items():
        schema = dict(resolve(part, components))
        if schema.get("default", 0) is None:
            del schema["default"]
        if alternatives := schema.get("anyOf"):
            schema["anyOf"] = [{"type": each["type"]} for each in alternatives]
        if schema["type" if "type" in schema else "x-order"] == "object":
            schema = {k: v for k, v in schema.items() if k not in {"properties", "required"}}
            schema["title"] = name.title()
        if "items" in schema and "$ref" in schema["items"]:
            schema["items"] = {"type": resolve(schema["items"], components)["type"]}
        found[name] = schema
    return found


async def results(name: str, input: dict[str, Any], files: dict[str, bytes]) -> list[Any]:
    model = ModelFunction(runner(name))
    context = RecordingContext(files)
    await model.setup(context.log)
    return [value async for value in model.predict(input, context)]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_publishes_the_inputs_that_cog_publishes(name: str) -> None:
    document = ModelFunction(runner(name)).openapi_schema
    ours, cogs = document["components"]["schemas"], published(name)["components"]["schemas"]

    assert meaning(document) == meaning(published(name))
    assert ours["Input"].get("required") == cogs["Input"].get("required")
    assert ours["Output"] == cogs["Output"]


async def test_files_and_secrets_arrive_as_the_classes_of_cog() -> None:
    [output] = await results("captions", {"image": IMAGE, "api_key": "hunter2"}, {IMAGE: b"abc"})

    assert output == {
        "text": "A picture of 3 bytes, caption, balanced, Secret",
        "score": 0.7,
        "language": None,
    }


async def test_pieces_of_text_stream() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "!"}]

    assert await results(
        "tokens", {"messages": messages, "seed": "x", "tools": messages[:1]}, {}
    ) == [
        "Hi",
        "!",
        " 'x' [0.5, 1.0] {'top_k': 50} None [{'role': 'user', 'content': 'Hi'}]",
    ]


async def test_an_asynchronous_runner_yields_files_and_says_how_many_runs_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert ModelFunction(runner("images")).concurrency == 4
    assert await results("images", {"count": 2, "source": IMAGE}, {IMAGE: b"abc"}) == [
        "https://files.test/1/0.txt",
        "https://files.test/2/1.txt",
    ]


def test_what_cog_publishes_is_read() -> None:
    inputs = Interface.read("acme/tokens", published("tokens")).inputs
    assert inputs is not None

    assert {name: field.type for name, field in inputs.items()} == {
        "messages": "list of object",
        "seed": "integer or string",
        "limit": "number or string",
        "stop": "string",
        "weights": "list of number",
        "options": "object",
        "message": "object",
        "tags": "list of string",
        "tool": "object",
        "tools": "list of object",
    }
    accept = mapping(Interface.read("acme/captions", published("captions")).inputs)["image"]
    assert accept.schema["x-cog-accept"] == "image/*"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "captions",
            [
                "image: FileInput",
                "temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.7",
                "beams: Literal[1, 2, 4] = 2",
                "api_key: Secret",
                "mask: FileInput | None = None",
                "language: str | None = None",
            ],
        ),
        (
            "tokens",
            [
                "messages: list[dict[str, Any]]",
                "seed: int | str = 1",
                "limit: float | str | None = None",
                "weights: list[float] = field(default_factory=lambda: [0.5, 1.0])",
                "message: dict[str, Any] | None = None",
            ],
        ),
    ],
)
def test_what_cog_publishes_becomes_types(name: str, lines: list[str]) -> None:
    written = module_source(f"acme/{name}", published(name)).splitlines()

    assert [line for line in lines if f"    {line}" not in written] == []


CHECKED: list[tuple[dict[str, Any], list[str]]] = [
    ({"messages": [{}], "seed": "x", "limit": 0.5, "weights": [1, 0.5]}, []),
    ({"messages": [{}], "seed": 0.5}, ["number_any_of", "invalid_type"]),
    ({"messages": {}}, ["invalid_type"]),
    # The service refuses null even where a schema says nullable.
    ({"messages": [], "stop": None}, ["invalid_type"]),
]


@pytest.mark.parametrize(("input", "wrong"), CHECKED)
def test_what_cog_publishes_checks_an_input(input: dict[str, Any], wrong: list[str]) -> None:
    assert [field.type for field in validate(input, published("tokens"))] == wrong
