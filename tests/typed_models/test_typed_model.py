from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from replicate_async import InvalidArgumentError, InvalidInputError, Secret, TypedModel
from tests.typed_models import painter, writer

REGENERATE = (
    "\nRegenerate its module with 'replicate-async types dev/painter', or pass \"dev/painter\" "
    "itself to send this unchecked."
)


def refusal(given: object, model: TypedModel[Any, Any] = painter.MODEL) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as raised:
        model.check(given)
    return raised.value


def test_a_struct_and_a_mapping_are_checked_alike() -> None:
    painter.MODEL.check(painter.Input(prompt="A fox", scheduler="DDIM"))
    painter.MODEL.check({"prompt": "A fox", "width": 512, "image": Path("cat.png")})

    wrong = painter.Input(prompt="A fox", width=2048)
    assert str(refusal(wrong)) == str(refusal({"prompt": "A fox", "width": 2048}))


def test_the_message_names_the_model_and_what_to_do() -> None:
    assert str(refusal({"prompt": "A fox", "width": 2048})) == (
        "dev/painter: width=2048 is too large; it takes an integer 256..1280 (default 1024)."
        + REGENERATE
    )
    assert str(refusal({"Prompt": "A fox", "width": 2048})) == (
        "2 inputs of dev/painter are wrong:\n"
        "  Prompt: there is no such input; did you mean prompt?\n"
        "  width=2048 is too large; it takes an integer 256..1280 (default 1024)." + REGENERATE
    )


def test_the_input_of_another_model_is_refused_by_its_class() -> None:
    error = refusal(writer.Input(prompt="A fox"))

    assert str(error) == (
        "dev/painter: input is a writer.Input; painter.MODEL takes a painter.Input or a mapping."
    )
    assert error.invalid_fields == ()


def test_a_secret_is_sent_and_not_shown() -> None:
    painter.MODEL.check(painter.Input(prompt="A fox", token=Secret("hunter22")))

    error = refusal({"prompt": [Secret("hunter22")], "token": 3, "width": Secret("hunter22")})

    assert "hunter22" not in str(error)
    assert "hunter22" not in str(error.invalid_fields)
    assert "token is an int; it takes a Secret." in str(error)


def test_a_refusal_is_an_argument_error_and_survives_pickling() -> None:
    error = refusal({})

    assert isinstance(error, InvalidArgumentError)
    assert isinstance(error, ValueError)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.invalid_fields) == (str(error), error.invalid_fields)
    assert [field.description for field in error.invalid_fields] == ["prompt is required"]


def test_a_typed_model_is_immutable_hashable_and_pickled_by_name() -> None:
    model = painter.MODEL

    assert {model: 1}[model] == 1
    assert copy.copy(model) is copy.deepcopy(model) is pickle.loads(pickle.dumps(model)) is model
    with pytest.raises(AttributeError, match="immutable"):
        model.ref = "dev/other"
    with pytest.raises(AttributeError, match="immutable"):
        del model.ref
    assert repr(model) == "<TypedModel dev/painter>"
    unnamed = TypedModel("dev/painter", input=painter.Input, output=str)
    again: TypedModel[Any, Any] = pickle.loads(pickle.dumps(unnamed))
    assert (again.ref, again.input_type, again.output_type) == ("dev/painter", painter.Input, str)


def test_a_typed_model_needs_a_name_and_structs() -> None:
    with pytest.raises(InvalidArgumentError, match="ref='painter' is neither"):
        TypedModel("painter", input=painter.Input, output=str)
    with pytest.raises(InvalidArgumentError, match="must be a msgspec Struct"):
        TypedModel("dev/painter", input=dict, output=str)
    with pytest.raises(InvalidArgumentError, match="must be a msgspec Struct"):
        TypedModel("dev/painter", input=painter.Input, output=str, training=int)


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "new\nline"])
def test_a_name_that_no_struct_can_have_is_given_in_a_mapping(name: str) -> None:
    painter.MODEL.check({"prompt": "A fox", name: 1})

    assert "width=1 is too small" in str(refusal({"prompt": "A fox", name: 1, "width": 1}))


class Odd(msgspec.Struct):
    value: complex | None = None


def test_an_annotation_without_a_schema_is_an_error_of_the_first_check() -> None:
    model = TypedModel("dev/painter", input=Odd, output=str)

    with pytest.raises(InvalidArgumentError, match=r"field .value.: complex is not allowed"):
        model.check(Odd())


def test_a_value_that_cannot_be_sent_is_refused_before_the_check() -> None:
    with pytest.raises(InvalidArgumentError, match='input\\["prompt"\\]'):
        painter.MODEL.check({"prompt": object()})


def test_a_module_of_types_needs_no_client_and_no_near_misses() -> None:
    program = (
        "import sys\n"
        "import tests.typed_models.painter as painter\n"
        "bad = {'difflib', 'aiohttp', 'replicate_async.interface.input_check'} & set(sys.modules)\n"
        "assert not bad, bad\n"
        "painter.MODEL.check(painter.Input(prompt='A fox'))\n"
        "assert 'difflib' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_untyped_caller_may_pass_nothing() -> None:
    assert "prompt is required: a string." in str(refusal(cast("Any", None)))
