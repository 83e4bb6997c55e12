"""The sentences about inputs that a model does not take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replicate_async.core.problem import InvalidField
from replicate_async.interface.read import Interface
from replicate_async.interface.refusal import Refusal, refuse, show

REF = "acme/painter"


def interface_of(
    properties: dict[str, Any], required: tuple[str, ...] = (), **components: Any
) -> Interface:
    """Return the interface of a model with these inputs, in their order."""
    ordered = {name: {"x-order": at, **part} for at, (name, part) in enumerate(properties.items())}
    schema = {"type": "object", "title": "Input", "properties": ordered, "required": [*required]}
    return Interface.read(REF, {"components": {"schemas": {"Input": schema, **components}}})


PAINTER = interface_of(
    {
        "prompt": {"type": "string"},
        "width": {"type": "integer", "minimum": 256, "maximum": 1280, "default": 1024},
        "scheduler": {
            "allOf": [{"$ref": "#/components/schemas/scheduler"}],
            "default": "K_EULER",
        },
        "name": {
            "type": "string",
            "minLength": 1,
            "maxLength": 10,
            "pattern": "^[a-z]+$",
            "default": "abc",
        },
        "image": {"type": "string", "format": "uri"},
        "token": {"type": "string", "format": "password", "x-cog-secret": True, "minLength": 8},
        "images": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "strength": {"type": "number", "exclusiveMaximum": 1},
        "flag": {"type": "boolean", "default": False},
    },
    required=("prompt",),
    scheduler={"type": "string", "enum": ["DDIM", "K_EULER"]},
)


def refusal(values: dict[str, object], interface: Interface = PAINTER) -> Refusal:
    found = refuse(values, interface)
    assert found is not None
    return found


def line(values: dict[str, object], interface: Interface = PAINTER) -> str:
    """Return the one sentence about *values*, to which a valid prompt is added."""
    prompt = {"prompt": "A fox"} if "prompt" in (interface.inputs or {}) else {}
    found = refusal({**prompt, **values}, interface)
    assert len(found.lines) == 1
    return found.lines[0]


NUMBERED = interface_of({f"input_{at}": {"type": "string"} for at in range(13)})
SIZES = interface_of({"size": {"type": "string", "enum": [f"{at}x{at}" for at in range(21)]}})
COUNTS = interface_of({"count": {"type": "integer", "enum": [1, 2, 4], "default": 1}})
UNION = interface_of(
    {"value": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]}}
)
NESTED = interface_of(
    {
        "crop": {
            "type": "object",
            "properties": {
                "left": {"type": "integer", "minimum": 0},
                "key": {"type": "string", "format": "password"},
            },
            "required": ["left"],
        }
    }
)

LINES: dict[str, tuple[dict[str, object], str]] = {
    "unknown, near miss": (
        {"schedular": "DDIM"},
        "schedular: there is no such input; did you mean scheduler?",
    ),
    "case": ({"Width": 512}, "Width: there is no such input; did you mean width?"),
    "case, nothing alike": ({"FLAG": True}, "FLAG: there is no such input; did you mean flag?"),
    "type": (
        {"width": "512"},
        'width="512" is a str; it takes an integer 256..1280 (default 1024).',
    ),
    "too large": (
        {"width": 2048},
        "width=2048 is too large; it takes an integer 256..1280 (default 1024).",
    ),
    "too small": (
        {"width": 0},
        "width=0 is too small; it takes an integer 256..1280 (default 1024).",
    ),
    "exclusive bound": ({"strength": 1.5}, "strength=1.5 is too large; it takes a number < 1."),
    "choice": (
        {"scheduler": "KEULER"},
        (
            'scheduler="KEULER" is none of its choices; did you mean "K_EULER"? '
            'It takes "DDIM", "K_EULER" (default "K_EULER").'
        ),
    ),
    "choice, none near": (
        {"scheduler": "zzz"},
        'scheduler="zzz" is none of its choices; it takes "DDIM", "K_EULER" (default "K_EULER").',
    ),
    "choice of another type": (
        {"scheduler": 3},
        'scheduler=3 is none of its choices; it takes "DDIM", "K_EULER" (default "K_EULER").',
    ),
    "too short": (
        {"name": ""},
        'name="" is too short; it takes 1 to 10 characters (default "abc").',
    ),
    "too long": (
        {"name": "a" * 11},
        'name="aaaaaaaaaaa" is too long; it takes 1 to 10 characters (default "abc").',
    ),
    "pattern": ({"name": "ABC"}, 'name="ABC" does not match ^[a-z]+$ (default "abc").'),
    "file as path": (
        {"image": "cat.png"},
        'image="cat.png" is no URL; for a file on this machine give Path("cat.png").',
    ),
    "secret": ({"token": 12345678}, "token is an int; it takes a Secret."),
    "short secret": ({"token": "hunter2"}, "token is too short; it takes at least 8 characters."),
    "item": ({"images": [1]}, "images[0]=1 is an int; it takes a file."),
    "file": (
        {"width": Path("cat.png")},
        "width is a file; it takes an integer 256..1280 (default 1024).",
    ),
    "null item": ({"images": [None]}, "images[0] is None; it takes a file."),
    "bool": ({"flag": "yes"}, 'flag="yes" is a str; it takes a boolean (default False).'),
}


@pytest.mark.parametrize("case", LINES)
def test_a_fault_has_its_sentence(case: str) -> None:
    values, sentence = LINES[case]

    assert line(values) == sentence


def test_a_missing_input_is_named_with_what_it_takes() -> None:
    assert refusal({}).lines == ("prompt is required: a string.",)


def test_an_unknown_name_far_from_all_is_answered_with_the_names() -> None:
    few = interface_of({name: {"type": "string"} for name in ("prompt", "width", "height")})

    assert line({"zzz": 1}, few) == ("zzz: there is no such input; it takes prompt, width, height.")
    assert refusal({"zzz": 1}, NUMBERED).lines == (
        "zzz: there is no such input; it takes 13 inputs.",
    )
    assert refusal({"zzz": 1}, interface_of({})).lines == (
        "zzz: there is no such input; it takes no inputs.",
    )


def test_an_input_with_the_wrong_case_is_not_also_missing() -> None:
    found = refusal({"Prompt": "A fox"})

    assert found.lines == ("Prompt: there is no such input; did you mean prompt?",)


def test_twelve_choices_are_listed_at_most() -> None:
    choices = ", ".join(f'"{at}x{at}"' for at in range(12))

    assert refusal({"size": "zzz"}, SIZES).lines == (
        f'size="zzz" is none of its choices; it takes {choices} and 9 more.',
    )


def test_a_choice_that_is_a_number_is_meant_by_its_text() -> None:
    assert refusal({"count": "4"}, COUNTS).lines == (
        'count="4" is none of its choices; did you mean 4? It takes 1, 2, 4 (default 1).',
    )


def test_the_alternative_that_fits_best_says_what_is_wrong() -> None:
    assert refusal({"value": ["a", 1]}, UNION).lines == (
        "value[1]=1 is an int; it takes a string.",
    )
    assert refusal({"value": "a"}, UNION).lines == (
        'value="a" is a str; it takes an integer or list of string.',
    )


def test_a_field_of_an_object_is_named_with_its_path() -> None:
    assert refusal({"crop": {"left": -1}}, NESTED).lines == (
        "crop.left=-1 is too small; it takes an integer >= 0.",
    )
    assert refusal({"crop": {}}, NESTED).lines == ("crop.left is required: an integer >= 0.",)


def test_the_fields_are_those_of_the_service_and_unknown_names_before_them() -> None:
    found = refusal({"zzz": 1, "width": 0})

    assert found.fields == (
        InvalidField(
            field="input",
            type="additional_property_not_allowed",
            description="Additional property zzz is not allowed",
        ),
        InvalidField(field="input", type="required", description="prompt is required"),
        InvalidField(
            field="input.width",
            type="number_gte",
            description="Must be greater than or equal to 256",
        ),
    )


def test_one_fault_is_one_line_and_more_are_a_list() -> None:
    assert refusal({}).message(REF) == "acme/painter: prompt is required: a string."
    assert refusal({"width": 0, "schedular": 1}).message(REF) == (
        "3 inputs of acme/painter are wrong:\n"
        "  schedular: there is no such input; did you mean scheduler?\n"
        "  prompt is required: a string.\n"
        "  width=0 is too small; it takes an integer 256..1280 (default 1024)."
    )


def test_unknown_names_can_be_ignored_as_the_service_does() -> None:
    assert refuse({"prompt": "A fox", "zzz": 1}, PAINTER, unknown=False) is None


def test_a_valid_input_and_a_model_without_a_schema_are_not_refused() -> None:
    assert refuse({"prompt": "A fox", "image": Path("cat.png")}, PAINTER) is None
    assert refuse({"zzz": 1}, Interface.read(REF, None)) is None


@pytest.mark.parametrize(
    "values",
    [
        {"token": ["hunter22"]},
        {"token": "hunter2"},
        {"width": "hunter22"},
        {"scheduler": "hunter22"},
        {"images": ["hunter22"]},
        {"image": "hunter22"},
        {"prompt": ["hunter22"]},
    ],
    ids=str,
)
def test_a_secret_is_never_shown(values: dict[str, object]) -> None:
    found = refuse({"prompt": "A fox", **values}, PAINTER, secrets=["hunter22", "hunter2"])

    assert found is not None
    assert "hunter" not in found.message(REF)
    assert "hunter" not in str(found.fields)


def test_a_value_that_holds_a_secret_is_not_shown() -> None:
    assert refusal({"crop": [{"key": "hunter22"}]}, NESTED).lines == (
        "crop is a list; it takes an object.",
    )


def test_a_long_value_is_cut_and_a_long_default_left_out() -> None:
    long = interface_of({"seed": {"type": "integer", "default": 1}})
    told = line({"seed": "x" * 100_000}, long)

    assert told == f'seed="{"x" * 58}… is a str; it takes an integer (default 1).'
    wordy = interface_of({"text": {"type": "string", "default": "x" * 40}})
    assert line({"text": 1}, wordy) == "text=1 is an int; it takes a string."


def test_a_long_name_is_cut() -> None:
    assert line({"x" * 1000: 1}).startswith(f"{'x' * 59}…: there is no such input;")


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert line({"width": "\x1b[2J\u202e"}).startswith('width="\\u001b[2J\\u202e" is a str;')
    assert line({"\x1b[2J": 1}).startswith("\\x1b[2J: there is no such input;")


def test_a_value_is_shown_as_python_with_double_quotes() -> None:
    assert show({"a": [True, None, 1.5, 'say "hi"']}) == '{"a": [True, None, 1.5, "say \\"hi\\""]}'
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    assert len(show(deep)) <= 60


def test_near_misses_are_only_looked_for_after_a_fault() -> None:
    program = (
        "import sys, replicate_async.interface.refusal as r; assert 'difflib' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_of_many_wrong_values_the_first_have_a_sentence() -> None:
    fields = {f"input_{number}": {"type": "string"} for number in range(2000)}
    found = refusal(dict.fromkeys(fields, 1), interface_of(fields))

    assert len(found.fields) == len(fields)
    assert found.lines[0] == "input_0=1 is an int; it takes a string."
    assert len(found.lines) == 21
    message = found.message("a/b").splitlines()
    assert (message[0], message[-1].strip()) == ("Inputs of a/b are wrong:", "More of it is wrong.")


def test_a_wrong_name_is_not_compared_with_thousands() -> None:
    known = {f"input_{number}": {"type": "string"} for number in range(2000)}

    assert refusal({"input_x": "a"}, interface_of(known)).lines == (
        "input_x: there is no such input; it takes 2000 inputs.",
    )
    assert refusal({"INPUT_7": "a"}, interface_of(known)).lines == (
        "INPUT_7: there is no such input; did you mean input_7?",
    )
