"""``key=value``, read by a schema."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replicate_async.cli.errors import UsageError
from replicate_async.cli.inputs import listing, read_inputs, refusal_of
from replicate_async.interface.input_check import InputCheck
from replicate_async.interface.read import Interface

COMPONENTS: dict[str, Any] = {
    "Size": {"type": "integer", "enum": [256, 512]},
    "Input": {
        "required": ["text"],
        "properties": {
            "late": {"type": "string", "x-order": 9},
            "text": {"type": "string", "x-order": 0},
            "whole": {"type": "integer", "minimum": 1, "x-order": 1},
            "real": {"type": "number", "maximum": 2.5, "x-order": 2},
            "flag": {"type": "boolean", "default": False, "x-order": 3},
            "size": {"allOf": [{"$ref": "#/components/schemas/Size"}], "x-order": 4},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}], "x-order": 5},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}], "x-order": 6},
            "many": {"type": "array", "items": {"type": "number"}, "x-order": 7},
            "files": {"type": "array", "items": {"type": "string", "format": "uri"}},
            "object": {"type": "object"},
            "kinds": {"type": ["boolean", "string", "null"]},
            "anything": {},
        },
    },
}
INTERFACE = Interface.read("acme/all", {"components": {"schemas": COMPONENTS}})
TWO_LINES = (
    "text=1 is an int; it takes a string.",
    "real=3 is too large; it takes a number <= 2.5.",
)
UNKNOWN = Interface.read("acme/hidden", None)


@pytest.mark.parametrize(
    ("arguments", "inputs"),
    [
        pytest.param(["text=1"], {"text": "1"}, id="a text stays one"),
        pytest.param(["text="], {"text": ""}, id="an empty text"),
        pytest.param(["text=a=b:=c"], {"text": "a=b:=c"}, id="only the first equals sign counts"),
        pytest.param(["text=--x"], {"text": "--x"}, id="no option"),
        pytest.param(["whole=-7"], {"whole": -7}, id="integer"),
        pytest.param(["real=3"], {"real": 3}, id="a whole number"),
        pytest.param(["real=1e-3"], {"real": 0.001}, id="number"),
        pytest.param(["flag=False"], {"flag": False}, id="false"),
        pytest.param(["flag=on"], {"flag": True}, id="true"),
        pytest.param(["size=512"], {"size": 512}, id="a choice behind a reference"),
        pytest.param(["maybe=4"], {"maybe": 4}, id="an optional one"),
        pytest.param(["either=4"], {"either": 4}, id="the narrower of two types"),
        pytest.param(["either=four"], {"either": "four"}, id="the wider of two types"),
        pytest.param(["kinds=no"], {"kinds": False}, id="a list of types"),
        pytest.param(["kinds=maybe"], {"kinds": "maybe"}, id="a list of types with a text"),
        pytest.param(["many=1", "many=2.5"], {"many": [1, 2.5]}, id="a key given twice"),
        pytest.param(["many=1"], {"many": [1]}, id="a list of one"),
        pytest.param(["many=[1, 2]"], {"many": [1, 2]}, id="a list as JSON"),
        pytest.param(['object={"a": 1}'], {"object": {"a": 1}}, id="object"),
        pytest.param(["anything=[1]"], {"anything": [1]}, id="anything, as JSON"),
        pytest.param(["anything=1]"], {"anything": "1]"}, id="anything, as text"),
        pytest.param(['text:="@home"'], {"text": "@home"}, id="JSON"),
        pytest.param(["whole:=null"], {"whole": None}, id="null"),
    ],
)
def test_a_value_is_what_the_schema_says(arguments: list[str], inputs: dict[str, object]) -> None:
    assert read_inputs(arguments, INTERFACE) == inputs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["text"], "'text' is not an input: inputs are given as", id="no sign"),
        pytest.param(["=x"], "'=x' is not an input", id="no key"),
        pytest.param(["whole=1.5"], "whole takes an integer >= 1, not '1.5'.", id="integer"),
        pytest.param(["whole=" + "9" * 30], "whole takes an integer >= 1", id="out of range"),
        pytest.param(["real=nan"], "real takes a number <= 2.5, not 'nan'.", id="number"),
        pytest.param(["flag=perhaps"], "flag takes a boolean, not 'perhaps'.", id="boolean"),
        pytest.param(["many=[1"], "many is not JSON: [1.", id="JSON"),
        pytest.param(["many:={}"], "many takes a list of number, not {}.", id="no list"),
        pytest.param(["object=[]"], "object takes an object, not '[]'.", id="no object"),
        pytest.param(["text=a", "text=b"], "text is given more than once, and", id="twice"),
        pytest.param(["wole=1"], "wole: there is no such input; did you mean whole?", id="unknown"),
        pytest.param(["text=@no/such"], "text names a file that is not there: no/such.", id="file"),
        pytest.param(["text=@/"], "text names a folder: /.", id="folder"),
        pytest.param(["text=\udcff"], "'text=\\udcff' is not UTF-8;", id="bytes"),
        pytest.param(["\udcff=@x"], "'\\udcff=@x' is not UTF-8;", id="bytes in a key"),
        pytest.param(["text=@\udcff"], "text names a file that is not there", id="bytes in a name"),
    ],
)
def test_a_wrong_value_is_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_inputs(arguments, INTERFACE)

    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["text=a"], ()),
        (["text=a", "whole:=null", "maybe=4"], ()),
        (["size=512"], ("text is required: a string.",)),
        (["text=a", "size=300"], ("size=300 is none of its choices; it takes 256, 512.",)),
        (["text=a", "whole=0"], ("whole=0 is too small; it takes an integer >= 1.",)),
        (["text:=1", "real=3"], TWO_LINES),
    ],
)
def test_an_input_is_checked_by_the_schema(arguments: list[str], lines: tuple[str, ...]) -> None:
    refusal = refusal_of(read_inputs(arguments, INTERFACE), InputCheck(INTERFACE))

    assert (() if refusal is None else refusal.lines) == lines


def test_a_file_is_text_where_text_is_taken_and_a_file_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("Es war einmal ein Bär", encoding="utf-8")

    inputs = read_inputs([f"text=@{path}", f"files=@{path}"], INTERFACE)

    assert inputs == {"text": "Es war einmal ein Bär", "files": [path]}


@pytest.mark.skipif(sys.platform != "linux", reason="a name is any bytes on Linux")
def test_the_name_of_a_file_need_not_be_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text("a latte", encoding="utf-8")

    inputs = read_inputs([f"text=@{path}", f"files=@{path}"], INTERFACE)

    assert inputs == {"text": "a latte", "files": [path]}


def test_without_a_schema_json_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\0")

    inputs = read_inputs(["n=1", "t=on", "l=a", "l=2", "b=true", f"f=@{path}"], UNKNOWN)

    assert inputs == {"n": 1, "t": "on", "l": ["a", 2], "b": True, "f": path}


def test_the_inputs_are_listed_in_their_order() -> None:
    lines = listing(INTERFACE).splitlines()

    assert lines[0] == "Inputs of acme/all:"
    assert [line.split()[0] for line in lines[1:4]] == ["text", "whole", "real"]
    assert [line.split()[0] for line in lines[8:10]] == ["many", "late"]
    assert lines[1].split() == ["text", "string", "required"]
    assert lines[4].split() == ["flag", "boolean", "false"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
WORDS = ("type", "enum", "anyOf", "oneOf", "allOf", "$ref", "items", "x-order", "minimum", "format")


@given(
    schema=st.dictionaries(st.sampled_from(WORDS), JSON),
    text=st.text(max_size=12) | st.sampled_from(["1", "[1]", "{}", "true"]),
)
@example(schema={"enum": ["\n"]}, text="")
def test_any_schema_and_text_give_a_value_or_a_usage_error(
    schema: dict[str, object], text: str
) -> None:
    components = {"Input": {"properties": {"key": schema, "other": {"$ref": "#/nowhere"}}}}
    interface = Interface.read("a/b", {"components": {"schemas": components}})
    listing(interface)

    try:
        read_inputs([f"key={text}"], interface)
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
