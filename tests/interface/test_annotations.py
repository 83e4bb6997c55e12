"""Schemas of msgspec Structs: the way back from generated types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import pytest
from msgspec import Meta, Struct, field

from replicate_async import FileInput, Secret
from replicate_async.interface.annotations import AnnotationError, SchemaBuilder, input_schema
from replicate_async.interface.read import Interface
from replicate_async.interface.structs import input_struct
from tests.support.schemas import case, load

DATA: Final = Path(__file__).parent.parent / "data"
SCHEMAS: Final = sorted([*DATA.glob("schemas/*.json"), *DATA.glob("cog/*.json")])


class Text(Struct, kw_only=True, frozen=True, omit_defaults=True):
    prompt: str
    width: Annotated[int, Meta(ge=256, le=1280)] = 1024
    scheduler: Literal["DDIM", "K_EULER"] = "K_EULER"
    strength: Annotated[float, Meta(gt=0, lt=1)] | None = None
    images: Annotated[list[FileInput], Meta(max_length=4)] = field(default_factory=list[FileInput])
    mask: FileInput | None = None
    token: Secret | None = None
    name: Annotated[str, Meta(min_length=1, max_length=10, pattern="^[a-z]+$")] = "abc"
    extra: Any = None
    options: dict[str, Any] = field(default_factory=lambda: {"a": 1})
    dashed: str | None = field(default=None, name="my-input")


def properties(struct: type[Struct]) -> dict[str, Any]:
    fields = SchemaBuilder({Any: {}}).fields(struct, where=struct.__name__)
    found: dict[str, Any] = input_schema(fields, "Input")["properties"]
    return found


def test_a_field_is_an_input_with_its_default_its_bounds_and_its_place() -> None:
    found = properties(Text)

    assert found["prompt"] == {"x-order": 0, "title": "Prompt", "type": "string"}
    assert found["width"] == {
        "x-order": 1,
        "title": "Width",
        "type": "integer",
        "minimum": 256,
        "maximum": 1280,
        "default": 1024,
    }
    assert found["scheduler"] == {
        "x-order": 2,
        "allOf": [{"$ref": "#/components/schemas/scheduler"}],
        "default": "K_EULER",
    }
    assert found["name"] == {
        "x-order": 7,
        "title": "Name",
        "type": "string",
        "minLength": 1,
        "maxLength": 10,
        "pattern": "^[a-z]+$",
        "default": "abc",
    }


def test_an_optional_field_keeps_the_bounds_inside_of_it() -> None:
    assert properties(Text)["strength"] == {
        "x-order": 3,
        "title": "Strength",
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "nullable": True,
    }


def test_files_and_secrets_are_strings_with_a_format() -> None:
    found = properties(Text)

    assert found["images"]["items"] == {"type": "string", "format": "uri"}
    assert found["images"]["maxItems"] == 4
    assert found["images"]["default"] == []
    assert (found["mask"]["type"], found["mask"]["format"]) == ("string", "uri")
    assert found["token"]["x-cog-secret"] is True


def test_a_value_of_any_kind_has_no_type() -> None:
    assert properties(Text)["extra"] == {"x-order": 8, "title": "Extra"}


def test_a_field_has_its_encoded_name_and_what_its_factory_makes() -> None:
    found = properties(Text)

    assert "my-input" in found
    assert found["options"]["default"] == {"a": 1}


def test_only_fields_without_a_default_are_required() -> None:
    fields = SchemaBuilder().fields(Text, where="Text")

    assert input_schema(fields, "Input")["required"] == ["prompt"]


def test_a_description_comes_from_the_annotation() -> None:
    class Described(Struct):
        count: Annotated[int, Meta(description="How many", ge=1)] = 1

    assert properties(Described)["count"]["description"] == "How many"


def test_a_default_that_does_not_fit_is_named_with_its_field() -> None:
    class Wrong(Struct):
        width: Annotated[int, Meta(ge=256)] = 1

    with pytest.raises(AnnotationError, match=r"^Wrong, field 'width': the default 1 does not fit"):
        properties(Wrong)


def test_choices_of_an_input_called_output_do_not_replace_the_output() -> None:
    class Odd(Struct):
        Output: Literal["png", "jpg"]

    builder = SchemaBuilder()
    builder.fields(Odd, where="Odd")

    assert list(builder.components) == ["Output_"]


def test_a_struct_of_msgspec_has_the_same_meaning_to_msgspec() -> None:
    assert msgspec.convert({"prompt": "a"}, Text) == Text(prompt="a")


def described(struct: type[Struct]) -> list[tuple[object, ...]]:
    """Return what the fields of *struct* say, with what their factories make."""
    return [
        (each.name, each.encode_name, each.type, each.required, repr(default_of(each)))
        for each in msgspec.structs.fields(struct)
    ]


def default_of(each: msgspec.structs.FieldInfo) -> object:
    factory = each.default_factory
    return each.default if factory is msgspec.NODEFAULT else factory()


def test_a_struct_of_a_schema_has_that_schema() -> None:
    for path in SCHEMAS:
        with case(path):
            struct = input_struct(Interface.read("a/b", load(path)))
            builder = SchemaBuilder({Any: {}})
            inputs = input_schema(builder.fields(struct, where="Input"), "Input")
            document = {"components": {"schemas": {**builder.components, "Input": inputs}}}

            again = input_struct(Interface.read("a/b", document))

            assert described(again) == described(struct)
