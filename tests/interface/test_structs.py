"""Structs of inputs and outputs, made from schemas."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_type_hints

import msgspec
import pytest

from replicate_async import FileOutput, Secret
from replicate_async.files.file_input import FileInput
from replicate_async.interface.hints import HintBuilder
from replicate_async.interface.names import python_names
from replicate_async.interface.read import Interface
from replicate_async.interface.structs import (
    input_struct,
    output_hint,
    output_type,
    quick_struct,
    training_struct,
)
from replicate_async.interface.validation import validate
from tests.support.schemas import SCHEMAS, Adversary, case, document, load, valid_input

ANYTHING: dict[str, Any] = {}


def interface(*args: Any, **kwargs: Any) -> Interface:
    return Interface.read("acme/model", document(*args, **kwargs))


def hint(schema: dict[str, Any], **components: Any) -> Any:
    """Return the type of an optional input."""
    struct = input_struct(interface({"it": schema}, **components))
    return get_type_hints(struct, include_extras=True)["it"]


def limits(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the constraints of a required input."""
    struct = input_struct(interface({"it": schema}, required=("it",)))
    annotated = get_type_hints(struct, include_extras=True)["it"]
    (meta,) = annotated.__metadata__
    names = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")
    return {name: found for name in names if (found := getattr(meta, name)) is not None}


def output(schema: dict[str, Any], **components: Any) -> Any:
    return output_type(interface(output=schema, **components))


def test_a_valid_input_of_a_published_model_passes_through_its_struct() -> None:
    for path in SCHEMAS:
        with case(path):
            schema = load(path)
            found = Interface.read("acme/model", schema)
            given = valid_input(schema)
            struct = input_struct(found)

            plain = {name: value for name, value in given.items() if not is_special(found, name)}
            held = msgspec.convert(given, struct, dec_hook=lambda kind, text: kind(text))

            assert struct.__struct_fields__ == tuple(found.inputs or ())
            assert plain.items() <= msgspec.structs.asdict(held).items()
            assert output_type(found) is not None


def is_special(found: Interface, name: str) -> bool:
    return (found.inputs or {})[name].schema.get("format") in {"uri", "password"}


def test_the_quick_check_of_a_published_model_accepts_a_valid_input() -> None:
    for path in SCHEMAS:
        with case(path):
            schema = load(path)
            quick = quick_struct(Interface.read("acme/model", schema))
            given = valid_input(schema)

            if quick is not None and not validate(given, schema):
                msgspec.convert(given, quick)


def test_only_six_published_models_have_no_quick_check() -> None:
    missing = [path.stem for path in SCHEMAS if not quick_struct(Interface.read("a/b", load(path)))]

    assert len(missing) == 6  # three have bounds beyond int64, three choices of another type


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, str | None),
        ({"type": "integer"}, int | None),
        ({"type": "number"}, float | None),
        ({"type": "boolean"}, bool | None),
        ({"type": "string", "format": "uri"}, FileInput | None),
        ({"type": "string", "format": "password"}, Secret | None),
        ({"type": "string", "x-cog-secret": True}, Secret | None),
        ({"enum": ["a", "b", "a", None], "type": "string"}, Literal["a", "b"] | None),
        ({"enum": [1, 2], "type": "integer"}, Literal[1, 2] | None),
        ({"enum": [0.5, 1], "type": "number"}, float | None),
        ({"enum": [2**63], "type": "integer"}, int | None),
        ({"type": "array", "items": {"type": "string"}}, list[str] | None),
        ({"type": "array"}, list[Any] | None),
        ({"type": "array", "items": {"type": "string", "format": "uri"}}, list[FileInput] | None),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, dict[str, Any] | None),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, dict[str, int] | None),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, str | None),
        ({"type": ["string", "integer"]}, str | int | None),
        ({"oneOf": [{"type": "string"}, {"type": "number"}]}, str | float | None),
        ({}, Any),
        ({"type": "NamedEmbedding"}, Any),
        ({"$ref": "#/components/schemas/Missing"}, Any),
        ({"allOf": [{"type": "string"}, {"maxLength": 3}]}, Any),
    ],
    ids=repr,
)
def test_the_type_of_an_input(schema: dict[str, Any], expected: Any) -> None:
    assert hint(schema) == expected


@pytest.mark.parametrize("word", ["allOf", "anyOf", "oneOf"])
def test_choices_are_found_behind_a_reference(word: str) -> None:
    schema = {word: [{"$ref": "#/components/schemas/mood"}], "description": "A mood"}
    mood = {"enum": ["happy", "sad"], "type": "string", "description": "An enumeration."}

    assert hint(schema, mood=mood) == Literal["happy", "sad"] | None


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, {"ge": 1, "le": 9}),
        ({"type": "integer", "minimum": 0.5, "maximum": 9.5}, {"ge": 1, "le": 9}),
        ({"type": "integer", "ge": 1, "le": 9, "maximum": 8}, {"ge": 1, "le": 8}),
        ({"type": "number", "exclusiveMinimum": 0, "minimum": 0}, {"gt": 0}),
        ({"type": "number", "exclusiveMinimum": 0, "minimum": 1}, {"ge": 1}),
        ({"type": "number", "exclusiveMinimum": True, "maximum": 2}, {"le": 2}),
        ({"type": "integer", "minimum": 0, "maximum": 18446744073709552000}, {"ge": 0}),
        ({"type": "string", "minLength": 1, "maxLength": 9}, {"min_length": 1, "max_length": 9}),
        ({"type": "string", "maxLength": 9, "minLength": -1}, {"max_length": 9}),
        ({"type": "string", "pattern": "^[a-z]+$"}, {"pattern": "^[a-z]+$"}),
        ({"type": "string", "pattern": r"^\p{L}$", "maxLength": 1}, {"max_length": 1}),
        ({"type": "string", "pattern": "[[a]", "maxLength": 1}, {"max_length": 1}),
    ],
    ids=repr,
)
def test_the_limits_of_an_input(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert limits(schema) == expected


@pytest.mark.parametrize(
    ("schema", "default"),
    [
        ({"type": "integer", "default": 4}, 4),
        ({"type": "integer", "default": 4.0}, 4),
        ({"type": "number", "default": 4}, 4),
        ({"type": "array", "items": {"type": "integer"}, "default": [1.0]}, [1]),
        ({"type": "string", "default": None}, None),
        ({"type": "integer", "default": 4, "maximum": 3}, None),
        ({"enum": ["1", "2"], "type": "integer", "default": 1}, None),
        ({"type": "string", "format": "uri", "default": "https://example.com/a.png"}, None),
        ({"type": "string", "format": "password", "default": "hunter2"}, None),
        ({"type": "number", "default": float("inf")}, None),
        ({"type": "integer", "default": 2**64}, None),
        ({"default": [1, "a"]}, None),
    ],
    ids=repr,
)
def test_the_default_of_an_input(schema: dict[str, Any], default: object) -> None:
    made: Any = input_struct(interface({"it": schema}))()

    assert made.it == default
    assert type(made.it) is type(default)


def test_only_what_differs_from_a_default_is_sent() -> None:
    struct: Any = input_struct(interface({"n": {"type": "integer", "default": 1}, "s": {}}))

    assert msgspec.json.encode(struct(n=1)) == b"{}"
    assert msgspec.json.encode(struct(n=2)) == b'{"n":2}'


def test_a_default_list_is_not_shared() -> None:
    schema = {"type": "array", "items": ANYTHING, "default": [["a"]]}
    struct: Any = input_struct(interface({"it": schema}))

    struct().it[0].append("b")

    assert struct().it == [["a"]]


def test_inputs_stand_in_the_order_of_a_form_and_are_keyword_only() -> None:
    struct: Any = input_struct(
        interface(
            {"b": {"type": "string", "x-order": 1}, "a": {"type": "string", "x-order": 0}, "c": {}},
            required=("b",),
        )
    )

    assert struct.__struct_fields__ == ("a", "b", "c")
    with pytest.raises(TypeError, match="positional"):
        struct("x", "y")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("my-input", "my_input"),
        ("2x", "n2x"),
        ("_hidden", "u_hidden"),
        ("class", "class_"),
        ("Input", "Input_"),
        ("Output", "Output_"),
        ("list", "list_"),
        ("field", "field_"),
        ("ﬁt", "fit"),
        ("m²", "m2"),
        ("größe", "größe"),
        ("a\u202eb", "a_b"),
        ("", "n"),
        ("type", "type"),
    ],
)
def test_the_field_of_an_odd_name(key: str, name: str) -> None:
    struct = input_struct(interface({key: {"type": "string"}}))

    assert struct.__struct_fields__ == (name,)
    assert struct.__struct_encode_fields__ == (key,)
    assert msgspec.json.encode(struct(**{name: "x"})) == msgspec.json.encode({key: "x"})


def test_names_that_fall_together_get_an_underscore_and_a_number() -> None:
    struct = input_struct(interface({"a-b": {}, "a_b": {}, "a.b": {}, "a+b": {}}))

    assert struct.__struct_fields__ == ("a_b", "a_b_", "a_b_3", "a_b_4")


class Name(str):
    """A name that counts how often one is compared with another."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def test_no_name_of_many_inputs_is_compared_with_all_others() -> None:
    names = [Name(f"input_{number}") for number in range(500)]
    found = interface({str(name): {"type": "string"} for name in names}, required=tuple(names))

    assert python_names(names) == names
    assert quick_struct(found) is not None
    assert input_struct(found).__struct_defaults__ == ()
    assert Name.compared < 20 * len(names)


@pytest.mark.parametrize("key", ['a"b', "a\\b", "a\nb", "\x00", "\ud800"])
def test_a_name_that_json_escapes_has_no_field(key: str) -> None:
    found = interface({key: {"type": "string"}, "b": {}}, required=(key,))

    assert input_struct(found).__struct_fields__ == ("b",)
    assert quick_struct(found) is None  # it would accept an input without the required name


@pytest.mark.parametrize(
    "found", [interface(), Interface.read("a/b", None), Interface.read("a/b", {"components": 3})]
)
def test_a_model_without_inputs_has_an_empty_struct(found: Interface) -> None:
    assert input_struct(found).__struct_fields__ == ()
    assert input_struct(found)() is not None


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "format": "uri"}, FileOutput),
        ({"type": "array", "items": {"type": "string", "format": "uri"}}, list[FileOutput]),
        ({"type": "string", "enum": ["a", "b"], "maxLength": 1}, str),
        ({"enum": ["a", "b"]}, str),
        ({"type": "integer", "minimum": 1}, int),
        ({"type": "string", "nullable": True}, str | None),
        (
            {"type": "array", "items": {"type": "string"}, "x-cog-array-display": "concatenate"},
            str,
        ),
        ({"type": "object"}, dict[str, Any]),
        ({"anyOf": [{"type": "string"}, {"type": "object"}]}, str | dict[str, Any]),
        ({"anyOf": [{"type": "string"}, {"type": "string", "format": "uri"}]}, Any),
        ({"anyOf": [{"type": "array", "items": ANYTHING}, {"type": "array"}]}, list[Any]),
        ({"title": "Output"}, Any),
    ],
    ids=repr,
)
def test_the_type_of_an_output(schema: dict[str, Any], expected: Any) -> None:
    assert output(schema) == expected


def test_an_output_with_properties_is_a_struct() -> None:
    segment = {
        "title": "a segment",
        "type": "object",
        "required": ["text"],
        "properties": {"text": {"type": "string"}, "end": {"type": "number"}},
    }
    schema = {
        "title": "ModelOutput",
        "type": "object",
        "required": ["segments"],
        "properties": {
            "segments": {"type": "array", "items": {"$ref": "#/components/schemas/Segment"}},
            "first": {"$ref": "#/components/schemas/Segment"},
            "audio": {"type": "string", "format": "uri"},
        },
    }

    found = output(schema, Segment=segment)
    made = msgspec.convert({"segments": [{"text": "Hi", "new": 1}], "first": None}, found)

    assert found.__name__ == "Output"
    assert get_type_hints(found)["audio"] == FileOutput | None
    assert repr(made) == (
        "Output(segments=[ASegment(text='Hi', end=None)], first=None, audio=None)"
    )
    with pytest.raises(msgspec.ValidationError, match="segments"):
        msgspec.convert({"segments": [{"text": None}]}, found)


def test_structs_with_one_title_are_told_apart() -> None:
    def item(kind: str) -> dict[str, Any]:
        return {"title": "Item", "type": "object", "properties": {"x": {"type": kind}}}

    found = output(
        {"type": "object", "properties": {"Item": {}, "a": item("string"), "b": item("integer")}}
    )
    names = {str(kind) for kind in get_type_hints(found).values()}

    assert any("Item_ " in name or name.endswith("Item_ | None") for name in names)
    assert len(names) == 3
    made = msgspec.convert({"a": {"x": "1"}, "b": {"x": 1}}, found)
    assert made.a.x == "1"
    assert made.b.x == 1


@pytest.mark.parametrize("optional", [False, True])
def test_no_text_of_a_union_has_a_pattern(*, optional: bool) -> None:
    """msgspec 0.22 takes one for a type where a list stands beside it, and crashes."""
    text: dict[str, Any] = {"type": "string", "pattern": "^a", "maxLength": 9}
    if optional:
        text = {"anyOf": [text, {"type": "null"}]}

    found = hint({"anyOf": [{"type": "array", "items": {"type": "integer"}}, text]})

    expected: Any = Annotated[str, msgspec.Meta(max_length=9)]
    assert found == list[int] | expected | None


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = {
        "title": "Tree",
        "type": "object",
        "properties": {
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
            "name": {"type": "string"},
        },
    }

    found = output({"$ref": "#/components/schemas/Tree"}, Tree=tree)

    assert found.__name__ == "Output"
    assert get_type_hints(found)["children"] == list[Any] | None
    loop = {"$ref": "#/components/schemas/Loop"}
    assert output(loop, Loop=loop) is Any
    assert hint({"type": "array", "items": loop}, Loop={"type": "array", "items": loop}) == (
        list[list[Any]] | None
    )


def test_an_output_that_refers_to_itself_ends() -> None:
    found = output(
        {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Output"}}}
    )

    assert get_type_hints(found) == {"next": Any}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "nullable": True},
        {"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "null"}]},
        {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
    ],
    ids=["nullable", "anyOf", "types"],
)
def test_an_output_that_may_be_null_has_a_struct_with_another_name(schema: dict[str, Any]) -> None:
    found = output(schema)
    made = msgspec.convert({"a": "x"}, found)

    assert type(made).__name__ == "Output_"
    assert found == type(made) | None


def test_structs_of_a_union_that_cannot_be_decoded_are_left_out() -> None:
    parts = [
        {"title": title, "type": "object", "properties": {"x": {"type": "string"}}}
        for title in ("A", "B")
    ]
    builder = HintBuilder(document(output={"anyOf": parts})["components"]["schemas"], "output")

    assert output_hint(builder).type is Any
    assert builder.records == []


def test_a_struct_that_is_met_twice_is_one() -> None:
    def part(title: str) -> dict[str, Any]:
        return {"title": title, "type": "object", "properties": {"x": {"type": "string"}}}

    found = get_type_hints(
        output({"type": "object", "properties": {"a": part("A"), "b": part("A"), "c": part("B")}})
    )

    assert found["a"] == found["b"]
    assert found["a"] != found["c"]


def test_a_schema_that_multiplies_itself_ends() -> None:
    levels = {
        f"L{n}": {
            "anyOf": [
                {"type": kind, word: {"$ref": f"#/components/schemas/L{n + 1}"}}
                for kind, word in (("array", "items"), ("object", "additionalProperties"))
            ]
        }
        for n in range(40)
    }

    assert output({"$ref": "#/components/schemas/L0"}, **levels) is not None


def test_a_training_has_a_struct_of_its_own() -> None:
    schema = document(
        TrainingInput={
            "type": "object",
            "required": ["images"],
            "properties": {
                "images": {"type": "string", "format": "uri"},
                "steps": {"type": "integer", "default": 100},
            },
        }
    )
    struct: Any = training_struct(schema)

    assert struct.__name__ == "TrainingInput"
    assert struct(images="https://example.com/a.zip").steps == 100
    assert training_struct(document()) is None
    assert training_struct(None) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date-time"},
        {"type": "integer", "multipleOf": 8},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        {"type": "integer", "enum": ["1"]},
        {"type": "number", "enum": [0.5]},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"allOf": [{"type": "string"}, {"maxLength": 3}]},
        {"type": "string", "pattern": r"\p{L}"},
        {"not": {"type": "string"}},
        {"oneOf": [{"title": "Any"}, {"type": "null"}]},
        {"allOf": [{"$ref": "#/components/schemas/short"}], "maxLength": 9},
    ],
    ids=repr,
)
def test_there_is_no_quick_check_of_what_msgspec_cannot_say(schema: dict[str, Any]) -> None:
    short = {"type": "string", "maxLength": 3}

    assert quick_struct(interface({"it": schema}, short=short)) is None


@pytest.mark.parametrize(
    "changes",
    [{"type": "string"}, {"minProperties": 1}, {"required": ["missing"]}],
    ids=str,
)
def test_there_is_no_quick_check_of_an_odd_input(changes: dict[str, Any]) -> None:
    schema = document({"it": {"type": "string"}})
    schema["components"]["schemas"]["Input"] |= changes

    assert quick_struct(Interface.read("a/b", schema)) is None


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("https://example.com/a.png", True),
        ("http://localhost:8000/v1/files/abc?x=1", True),
        ("data:image/png;base64,iVBOR/w0KGgo=", True),
        ("cat.png", False),
        ("https://[::1", False),
        ("https:\\\\example.com", False),
        ("data://[x", False),
    ],
)
def test_the_quick_check_takes_files_as_urls(value: str, *, accepted: bool) -> None:
    schema = document({"it": {"type": "string", "format": "uri"}})
    quick = quick_struct(Interface.read("a/b", schema))
    assert quick is not None

    try:
        msgspec.convert({"it": value}, quick)
    except msgspec.ValidationError:
        assert not accepted
    else:
        assert accepted
        assert validate({"it": value}, schema) == []


@pytest.mark.parametrize("given", [{"it": None}, {"other": 1}, {"it": True}, {"it": 10}])
def test_the_quick_check_refuses(given: dict[str, Any]) -> None:
    quick = quick_struct(interface({"it": {"type": "integer", "maximum": 9, "nullable": True}}))
    assert quick is not None

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, quick)


VALUES: tuple[Any, ...] = (
    *(None, True, 0, 1, -1, 2**60, 2**70, 0.5, 5.0, 1e30, "", "a", "512", "x" * 40, "a\n"),
    *("https://example.com/a.png", [], ["a"], [1], [[1.5]], {}, {"a": 1}, {"a": "x"}),
)


@pytest.mark.parametrize(
    "seeds",
    [range(60), pytest.param(range(60, 1500), marks=pytest.mark.slow)],
    ids=lambda seeds: f"{seeds.start}-{seeds.stop}",
)
def test_the_quick_check_of_an_adversarial_schema_accepts_nothing_wrong(seeds: range) -> None:
    accepted = 0
    for seed in seeds:
        adversary = Adversary(seed)
        schema = adversary.document()
        inputs = schema["components"]["schemas"]["Input"]
        inputs["required"] = []
        quick = quick_struct(Interface.read("a/b", schema))
        if quick is None:
            continue
        for _ in range(8):
            names = [name for name in inputs["properties"] if adversary.chance(0.5)]
            given = {name: adversary.random.choice(VALUES) for name in names}
            try:
                msgspec.convert(given, quick)
            except (msgspec.ValidationError, OverflowError):
                continue
            accepted += 1
            assert validate(given, schema) == []

    assert accepted > len(seeds)
