"""What has changed between two modules of one model, in words."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from replicate_async.interface import drift
from replicate_async.interface.source import module_source
from tests.support.schemas import document

INTEGER = {"type": "integer"}
TEXT = {"type": "string"}


def module(*args: Any, **kwargs: Any) -> ast.Module:
    return ast.parse(module_source("acme/model", document(*args, **kwargs)))


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the changes of an input ``it`` whose schema was *old*."""
    return drift.changes(module({"it": old}), module({"it": new}))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            INTEGER | {"minimum": 256, "maximum": 1280},
            INTEGER | {"minimum": 256, "maximum": 2048},
            ["it 256..1280 is now 256..2048"],
        ),
        (INTEGER | {"minimum": 1}, INTEGER | {"minimum": 2}, ["it >= 1 is now >= 2"]),
        (INTEGER, INTEGER | {"maximum": 9}, ["it int is now int <= 9"]),
        (INTEGER, TEXT, ["it int is now str"]),
        (
            TEXT | {"maxLength": 9},
            TEXT | {"maxLength": 8, "pattern": "^a"},
            ['it at most 9 characters is now at most 8 characters, matching "^a"'],
        ),
        (
            {"enum": ["a", "b"]},
            {"enum": ["b", "c"]},
            ['it also takes "c"', 'it no longer takes "a"'],
        ),
        (INTEGER | {"default": 1}, INTEGER | {"default": 2}, ["it default 1 is now 2"]),
        (
            {"type": "array", "items": TEXT},
            {"type": "array", "items": INTEGER},
            ["it list[str] is now list[int]"],
        ),
        (TEXT | {"description": "A"}, TEXT | {"description": "B"}, ["descriptions have changed"]),
    ],
    ids=str,
)
def test_a_change_of_an_input(old: dict[str, Any], new: dict[str, Any], said: list[str]) -> None:
    assert changes(old, new) == said


def test_new_and_missing_inputs() -> None:
    old = module({"mask": TEXT, "my-key": TEXT, "prompt": TEXT})
    new = module({"lora": TEXT, "image": TEXT, "my-key": TEXT, "prompt": TEXT}, required=("image",))

    assert drift.changes(old, new) == [
        "new input lora (optional)",
        "new input image (required)",
        "input mask is gone",
    ]


def test_an_input_that_becomes_required() -> None:
    old, new = module({"a": TEXT}), module({"a": TEXT}, required=("a",))

    assert drift.changes(old, new) == ["a is now required"]
    assert drift.changes(new, old) == ["a is now optional"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (TEXT, INTEGER, ["output str is now int"]),
        (
            {"type": "object", "properties": {"a": TEXT, "b": TEXT}},
            {"type": "object", "properties": {"a": INTEGER, "c": TEXT}},
            ["a str is now int", "new output field c (optional)", "output field b is gone"],
        ),
        (
            TEXT,
            {"type": "object", "properties": {"a": TEXT}},
            ["new output field a (optional)", "output str is now a struct"],
        ),
    ],
    ids=["type", "field", "struct"],
)
def test_a_change_of_the_output(old: dict[str, Any], new: dict[str, Any], said: list[str]) -> None:
    assert drift.changes(module(output=old), module(output=new)) == said


def test_a_change_of_a_training() -> None:
    old = module(TrainingInput={"type": "object", "properties": {"a": TEXT}})
    new = module(TrainingInput={"type": "object", "properties": {"b": TEXT}})

    assert drift.changes(old, new) == [
        "new training input b (optional)",
        "training input a is gone",
    ]


def test_layout_and_comments_are_no_difference() -> None:
    schema = document({"a": INTEGER | {"minimum": 1, "maximum": 2, "description": "A number."}})
    made = module_source("acme/model", schema)
    other = made.replace(
        "a: Annotated[int, Meta(ge=1, le=2)]", "a: Annotated[\n        int, Meta(ge=1, le=2)]"
    )
    other = other.replace('"', "'").replace("\nclass", "\n# A comment.\nclass")

    assert other != made
    assert drift.same(ast.parse(made), ast.parse(other))
    assert not drift.same(ast.parse(made), ast.parse(made.replace("le=2", "le=3")))
