from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from replicate_async.core.secret import Secret
from replicate_async.interface.types import (
    AsyncConcatenateIterator,
    ConcatenateIterator,
    Input,
    InputFile,
    OutputFile,
    Weights,
)
from replicate_async.local.models.function import ModelFunction

if TYPE_CHECKING:
    from decimal import Decimal


class Mood(Enum):
    HAPPY = "happy"
    SAD = "sad"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class CaptionedImage(msgspec.Struct, frozen=True, kw_only=True):
    image: Path
    caption: str
    score: float | None = None


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


class Shape(TypedDict, total=False):
    sides: int


def schemas(function: Callable[..., object]) -> dict[str, Any]:
    components: dict[str, Any] = ModelFunction(function).openapi_schema["components"]["schemas"]
    return components


def input_of(hint: object) -> dict[str, Any]:
    def predict(value: str) -> str:
        return value

    predict.__annotations__["value"] = hint
    schema: dict[str, Any] = schemas(predict)["Input"]["properties"]["value"]
    return schema


def output_of(hint: object) -> dict[str, Any]:
    def predict() -> object:
        return None

    predict.__annotations__["return"] = hint
    schema: dict[str, Any] = schemas(predict)["Output"]
    return schema


def test_the_specifications_example_gives_the_specifications_schema() -> None:
    def predict(text: Annotated[str, Input(description="Text to prefix with 'hello '")]) -> str:
        return f"hello {text}"

    model = ModelFunction(predict)

    assert model.openapi_schema == {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": model.openapi_schema["info"]["version"]},
        "paths": {},
        "components": {
            "schemas": {
                "Input": {
                    "type": "object",
                    "title": "Input",
                    "required": ["text"],
                    "properties": {
                        "text": {
                            "x-order": 0,
                            "type": "string",
                            "title": "Text",
                            "description": "Text to prefix with 'hello '",
                        }
                    },
                },
                "Output": {"type": "string", "title": "Output"},
            }
        },
    }


def test_a_choice_is_a_reference_to_a_component_named_like_the_input() -> None:
    def predict(
        steps: Annotated[int, Input(ge=1, le=50)] = 20,
        refine: Annotated[Literal["none", "expert"], Input(description="Which")] = "none",
        mood: Mood = Mood.SAD,
        size: Size = Size.SMALL,
    ) -> str:
        return f"{steps}{refine}{mood}{size}"

    components = schemas(predict)

    assert components["Input"]["properties"] == {
        "steps": {
            "x-order": 0,
            "title": "Steps",
            "type": "integer",
            "minimum": 1,
            "maximum": 50,
            "default": 20,
        },
        "refine": {
            "x-order": 1,
            "allOf": [{"$ref": "#/components/schemas/refine"}],
            "default": "none",
            "description": "Which",
        },
        "mood": {
            "x-order": 2,
            "allOf": [{"$ref": "#/components/schemas/mood"}],
            "default": "sad",
        },
        "size": {"x-order": 3, "allOf": [{"$ref": "#/components/schemas/size"}], "default": 1},
    }
    assert "required" not in components["Input"]
    assert components["refine"] == {
        "title": "refine",
        "description": "An enumeration.",
        "enum": ["none", "expert"],
        "type": "string",
    }
    assert components["size"]["type"] == "integer"


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (str, {"type": "string"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Path, {"type": "string", "format": "uri"}),
        (InputFile, {"type": "string", "format": "uri"}),
        (
            Secret,
            {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
        ),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (list[Path], {"type": "array", "items": {"type": "string", "format": "uri"}}),
        (
            list[list[float]],
            {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        ),
        (list, {"type": "array", "items": {}}),
        (dict, {"type": "object"}),
        (dict[str, Any], {"type": "object"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Any, {"type": "object"}),
        (object, {}),
        (int | None, {"type": "integer", "nullable": True}),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (
            list[Annotated[str, Input(max_length=3)]],
            {"type": "array", "items": {"type": "string", "maxLength": 3}},
        ),
    ],
)
def test_the_schema_of_an_input(hint: object, schema: dict[str, Any]) -> None:
    assert input_of(hint) == {"x-order": 0, "title": "Value", **schema}


def test_an_optional_input_or_one_with_a_default_is_not_required() -> None:
    def predict(
        needed: str,
        maybe: str | None,
        maybe_too: str | None = None,
        chosen: Literal["a", None] = None,  # noqa: PYI061 - what is tested
        given: int = 3,
        forced: str = Input(None),
    ) -> str:
        return f"{needed}{maybe}{maybe_too}{chosen}{given}{forced}"

    schema = schemas(predict)["Input"]

    assert schema["required"] == ["needed", "forced"]
    assert schema["properties"]["maybe_too"]["nullable"] is True
    assert schema["properties"]["chosen"]["nullable"] is True
    assert "default" not in schema["properties"]["maybe_too"]


def test_options_may_replace_the_default() -> None:
    def predict(
        prompt: str = Input(description="What to write", min_length=1, pattern="^[A-Z]"),
        steps: int = Input(4, ge=1, deprecated=True),
        mode: str = Input("fast", choices=["fast", "good"]),
    ) -> str:
        return f"{prompt}{steps}{mode}"

    components = schemas(predict)

    assert components["Input"]["required"] == ["prompt"]
    assert components["Input"]["properties"] == {
        "prompt": {
            "x-order": 0,
            "title": "Prompt",
            "type": "string",
            "minLength": 1,
            "pattern": "^[A-Z]",
            "description": "What to write",
        },
        "steps": {
            "x-order": 1,
            "title": "Steps",
            "type": "integer",
            "minimum": 1,
            "default": 4,
            "deprecated": True,
        },
        "mode": {
            "x-order": 2,
            "allOf": [{"$ref": "#/components/schemas/mode"}],
            "default": "fast",
        },
    }
    assert components["mode"]["enum"] == ["fast", "good"]


def test_options_are_found_inside_an_optional() -> None:
    def predict(value: Annotated[int, Input(ge=1, description="How many")] | None) -> str:
        return str(value)

    schema = schemas(predict)["Input"]["properties"]["value"]

    assert schema == {
        "x-order": 0,
        "title": "Value",
        "type": "integer",
        "minimum": 1,
        "nullable": True,
        "description": "How many",
    }


FILE = {"type": "string", "format": "uri"}


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (str, {"type": "string"}),
        (Path, FILE),
        (OutputFile, FILE),
        (list[OutputFile], {"type": "array", "items": FILE}),
        (
            list[list[float]],
            {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        ),
        (dict, {"type": "object"}),
        (Any, {"type": "object"}),
        (
            Iterator[str],
            {"type": "array", "items": {"type": "string"}, "x-cog-array-type": "iterator"},
        ),
        (
            Generator[str, None, None],
            {"type": "array", "items": {"type": "string"}, "x-cog-array-type": "iterator"},
        ),
        (AsyncIterator[Path], {"type": "array", "items": FILE, "x-cog-array-type": "iterator"}),
        (
            AsyncGenerator[list[Path], None],
            {
                "type": "array",
                "items": {"type": "array", "items": FILE},
                "x-cog-array-type": "iterator",
            },
        ),
        *(
            (
                hint,
                {
                    "type": "array",
                    "items": {"type": "string"},
                    "x-cog-array-type": "iterator",
                    "x-cog-array-display": "concatenate",
                },
            )
            for hint in (
                ConcatenateIterator[str],
                AsyncConcatenateIterator[str],
                ConcatenateIterator,
            )
        ),
    ],
)
def test_the_schema_of_an_output(hint: object, schema: dict[str, Any]) -> None:
    assert output_of(hint) == {"title": "Output", **schema}


@pytest.mark.parametrize(
    ("hint", "properties", "required"),
    [
        (
            CaptionedImage,
            {
                "image": {"title": "Image", **FILE},
                "caption": {"title": "Caption", "type": "string"},
                "score": {"title": "Score", "type": "number", "nullable": True},
            },
            ["image", "caption"],
        ),
        (
            Point,
            {
                "x": {"title": "X", "type": "number"},
                "y": {"title": "Y", "type": "number"},
            },
            ["x"],
        ),
        (Shape, {"sides": {"title": "Sides", "type": "integer"}}, None),
    ],
)
def test_an_object_as_output_lists_its_fields(
    hint: object, properties: dict[str, Any], required: list[str] | None
) -> None:
    schema = output_of(hint)

    assert schema["title"] == "Output"
    assert schema["type"] == "object"
    assert schema["properties"] == properties
    assert schema.get("required") == required


def test_a_list_of_objects_refers_to_a_component() -> None:
    def predict() -> list[CaptionedImage]:
        return []

    components = schemas(predict)

    assert components["Output"] == {
        "title": "Output",
        "type": "array",
        "items": {"$ref": "#/components/schemas/CaptionedImage"},
    }
    assert components["CaptionedImage"]["required"] == ["image", "caption"]


def test_the_inputs_of_training_are_a_component_of_their_own() -> None:
    def predict(mode: Literal["a", "b"] = "a", *, weights: Weights | None = None) -> str:
        return f"{mode}{weights!r}"

    def train(data: Path, mode: Literal["c", "d"] = "c") -> bytes:
        return f"{data}{mode}".encode()

    components = ModelFunction(predict, train=train).openapi_schema["components"]["schemas"]

    assert list(components["Input"]["properties"]) == ["mode"]
    assert components["TrainingInput"]["title"] == "TrainingInput"
    assert components["TrainingInput"]["required"] == ["data"]
    assert components["TrainingOutput"]["properties"]["weights"]["format"] == "uri"
    # Two choices of one name cannot be one component.
    first, second = (
        components[part]["properties"]["mode"]["allOf"][0]["$ref"].rpartition("/")[2]
        for part in ("Input", "TrainingInput")
    )
    assert components[first]["enum"] == ["a", "b"]
    assert components[second]["enum"] == ["c", "d"]


def test_methods_partials_and_callable_objects_are_models() -> None:
    class Greeter:
        def __call__(self, name: str) -> str:
            return name

        def greet(self, name: str, mark: str) -> str:
            return name + mark

    greeter = Greeter()

    assert list(schemas(greeter)["Input"]["properties"]) == ["name"]
    assert list(schemas(greeter.greet)["Input"]["properties"]) == ["name", "mark"]
    assert schemas(partial(greeter.greet, mark="!"))["Input"]["required"] == ["name"]


def unannotated(prompt: str) -> str:
    return prompt


del unannotated.__annotations__["prompt"]


def keywords(**options: str) -> str:
    return str(options)


def unknown_name(price: Decimal) -> str:
    return str(price)


def complex_input(number: complex) -> str:
    return str(number)


def union_of_files(source: Path | str) -> str:
    return str(source)


def mixed_choices(level: Literal["low", 1]) -> str:
    return str(level)


def wrong_default(steps: Annotated[int, Input(le=10)] = 11) -> str:
    return str(steps)


def file_in_object(image: CaptionedImage) -> str:
    return str(image)


def returns_nothing(prompt: str) -> None:
    del prompt


def optional_output(prompt: str) -> str | None:
    return prompt


def yields_as_text(prompt: str) -> Any:
    yield prompt


def concatenates_numbers() -> ConcatenateIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (unannotated, ["unannotated()", "'prompt'", "no annotation", "Literal[...]"]),
        (keywords, ["keywords()", "'options'", "ordinary parameter"]),
        (unknown_name, ["unknown_name()", "'Decimal'", "TYPE_CHECKING"]),
        (complex_input, ["complex_input()", "'number'", "complex is not allowed", "str, int"]),
        (union_of_files, ["'source'", "Path is not allowed in a union"]),
        (mixed_choices, ["'level'", "all strings, all integers"]),
        (wrong_default, ["'steps'", "default 11", "less than or equal to 10"]),
        (file_in_object, ["'image'", "not allowed inside an object"]),
        (returns_nothing, ["returns_nothing(), what it returns", "annotate it"]),
        (optional_output, ["optional_output(), what it returns", "without None"]),
        (yields_as_text, ["it yields", "Iterator[...]", "ConcatenateIterator[str]"]),
        (concatenates_numbers, ["only pieces of str"]),
    ],
)
def test_an_invalid_annotation_is_named_in_the_error(
    function: Callable[..., object], words: list[str]
) -> None:
    with pytest.raises(TypeError) as error:
        ModelFunction(function)

    for word in words:
        assert word in str(error.value)


def test_training_needs_a_parameter_for_the_weights() -> None:
    def predict(prompt: str) -> str:
        return prompt

    def train(text: str) -> bytes:
        return text.encode()

    with pytest.raises(TypeError, match="weights: Weights"):
        ModelFunction(predict, train=train)


def test_the_repr_of_a_secret_is_asterisks() -> None:
    secret = Secret("hunter2")

    assert secret.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r}"


def test_a_pattern_has_the_name_of_cog_and_a_file_says_what_it_accepts() -> None:
    found = input_of(Annotated[str, Input(regex="^a")])
    picked = input_of(Annotated[Path, Input(accept="image/*")])

    assert found["pattern"] == "^a"
    assert picked["x-cog-accept"] == "image/*"


def test_any_class_of_paths_is_a_file() -> None:
    class Own(type(Path())):  # type: ignore[misc] # a computed base
        pass

    assert input_of(Own)["format"] == "uri"
