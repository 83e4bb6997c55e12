from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.interface.read import Interface
from replicate_async.interface.validation import (
    check,
    detail_text,
    json_type,
    validate,
)
from replicate_async.schemas import InvalidField

Json = Any

SCHEMA: dict[str, Any] = {
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "title": "Input",
                "required": ["prompt"],
                "properties": {
                    # Recorded schemas are not in x-order.
                    "steps": {"type": "integer", "minimum": 1, "maximum": 4, "x-order": 2},
                    "prompt": {"type": "string", "title": "Prompt", "x-order": 0},
                    "image": {"type": "string", "format": "uri", "x-order": 1},
                    "format": {
                        "allOf": [{"$ref": "#/components/schemas/format"}],
                        "default": "jpg",
                        "x-order": 3,
                    },
                    "scale": {"type": "number", "x-order": 4, "nullable": True},
                    "tags": {
                        "type": "array",
                        "items": {"type": "string", "minLength": 2},
                        "minItems": 1,
                        "maxItems": 2,
                        "uniqueItems": True,
                        "x-order": 5,
                    },
                    "name": {
                        "type": "string",
                        "minLength": 2,
                        "maxLength": 4,
                        "pattern": "^[a-z]+$",
                        "x-order": 6,
                    },
                    "either": {
                        "anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 3}],
                        "x-order": 7,
                    },
                    "options": {"$ref": "#/components/schemas/Options"},
                    "old": {"type": "number", "ge": 0.5, "le": 1, "x-order": 8},
                },
            },
            "TrainingInput": {"type": "object", "required": ["text"]},
            "format": {"title": "format", "enum": ["jpg", "png"], "type": "string"},
            "Options": {
                "type": "object",
                "required": ["depth"],
                "properties": {"depth": {"type": "integer"}},
                "additionalProperties": False,
            },
        }
    }
}


def wrong(**input: object) -> list[tuple[str, str, str]]:
    fields = validate({"prompt": "a cat", **input}, SCHEMA)
    return [(field.type, field.field, field.description) for field in fields]


def test_a_recorded_refusal_has_the_same_words() -> None:
    fields = validate({"steps": 28}, SCHEMA)

    assert fields == [
        InvalidField(type="required", field="input", description="prompt is required"),
        InvalidField(
            type="number_lte",
            field="input.steps",
            description="Must be less than or equal to 4",
        ),
    ]
    assert detail_text(fields) == (
        "- input: prompt is required\n- input.steps: Must be less than or equal to 4\n"
    )


def test_a_recorded_refusal_of_a_choice_has_one_line() -> None:
    assert wrong(format="webp") == [
        ("enum", "input.format", 'format must be one of the following: "jpg", "png"')
    ]


@pytest.mark.parametrize(
    ("input", "type", "field", "description"),
    [
        pytest.param(
            {"steps": None},
            "invalid_type",
            "input.steps",
            "Invalid type. Expected: integer, given: null",
            id="null",
        ),
        pytest.param(
            {"scale": None},
            "invalid_type",
            "input.scale",
            "Invalid type. Expected: number, given: null",
            id="null although nullable",
        ),
        pytest.param(
            {"steps": 2.5},
            "invalid_type",
            "input.steps",
            "Invalid type. Expected: integer, given: number",
            id="fraction",
        ),
        pytest.param(
            {"steps": True},
            "invalid_type",
            "input.steps",
            "Invalid type. Expected: integer, given: boolean",
            id="boolean is no integer",
        ),
        pytest.param(
            {"prompt": ["a"]},
            "invalid_type",
            "input.prompt",
            "Invalid type. Expected: string, given: array",
            id="array",
        ),
        pytest.param(
            {"steps": 0},
            "number_gte",
            "input.steps",
            "Must be greater than or equal to 1",
            id="minimum",
        ),
        pytest.param(
            {"old": 0.25},
            "number_gte",
            "input.old",
            "Must be greater than or equal to 0.5",
            id="stray ge of old versions",
        ),
        pytest.param(
            {"name": "a"},
            "string_gte",
            "input.name",
            "String length must be greater than or equal to 2",
            id="too short",
        ),
        pytest.param(
            {"name": "abcde"},
            "string_lte",
            "input.name",
            "String length must be less than or equal to 4",
            id="too long",
        ),
        pytest.param(
            {"name": "AB"},
            "pattern",
            "input.name",
            "Does not match pattern '^[a-z]+$'",
            id="pattern",
        ),
        pytest.param(
            {"image": "cat.png"},
            "format",
            "input.image",
            "Does not match format 'uri'",
            id="not a URI",
        ),
        pytest.param(
            {"tags": []},
            "array_min_items",
            "input.tags",
            "Array must have at least 1 items",
            id="too few items",
        ),
        pytest.param(
            {"tags": ["aa", "bb", "cc"]},
            "array_max_items",
            "input.tags",
            "Array must have at most 2 items",
            id="too many items",
        ),
        pytest.param(
            {"tags": ["aa", "aa"]},
            "unique",
            "input.tags",
            "array items[0,1] must be unique",
            id="twice the same item",
        ),
        pytest.param(
            {"tags": ["aa", "b"]},
            "string_gte",
            "input.tags.1",
            "String length must be greater than or equal to 2",
            id="inside an array",
        ),
        pytest.param(
            {"options": {}}, "required", "input.options", "depth is required", id="nested required"
        ),
        pytest.param(
            {"options": {"depth": 1, "width": 2}},
            "additional_property_not_allowed",
            "input.options",
            "Additional property width is not allowed",
            id="additional property",
        ),
    ],
)
def test_each_rule_has_the_services_type_and_text(
    input: dict[str, object], type: str, field: str, description: str
) -> None:
    assert wrong(**input) == [(type, field, description)]


def test_a_union_reports_the_closest_alternative() -> None:
    assert wrong(either="long text") == [
        ("number_any_of", "input.either", "Must validate at least one schema (anyOf)"),
        ("string_lte", "input.either", "String length must be less than or equal to 3"),
    ]


@pytest.mark.parametrize(
    ("schema", "value", "types"),
    [
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, ["number_one_of"]),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1.5, []),
        ({"oneOf": [{"type": "integer"}]}, "a", ["number_one_of", "invalid_type"]),
        ({"allOf": [{"minimum": 1}, {"maximum": 3}]}, 4, ["number_lte", "number_all_of"]),
        ({"not": {"type": "string"}}, "a", ["number_not"]),
        ({"const": "a"}, "b", ["const"]),
        ({"multipleOf": 8}, 12, ["multiple_of"]),
        ({"multipleOf": 0}, 12, []),
        ({"exclusiveMinimum": 1}, 1, ["number_gt"]),
        ({"exclusiveMaximum": 1}, 1, ["number_lt"]),
        ({"minProperties": 1}, {}, ["array_min_properties"]),
        ({"maxProperties": 1}, {"a": 1, "b": 2}, ["array_max_properties"]),
        ({"additionalProperties": {"type": "integer"}}, {"a": "b"}, ["invalid_type"]),
        ({"type": ["string", "null"]}, None, []),
        ({"type": ["string", "null"]}, 1, ["invalid_type"]),
        ({"enum": [1, 2]}, True, ["enum"]),
        ({"enum": [1, 2]}, 2.0, []),
        ({"type": "string", "format": "date-time"}, "2024-08-22T12:26:51Z", []),
        ({"type": "string", "format": "date-time"}, "2024-08-22", ["format"]),
        ({"type": "string", "format": "date-time"}, "soon", ["format"]),
        ({"type": "string", "format": "uri"}, "http://[", ["format"]),
        ({"type": "string", "format": "unheard-of"}, "", []),
    ],
)
def test_the_rarer_rules(schema: dict[str, Any], value: object, types: list[str]) -> None:
    fields = check({"value": value}, {"properties": {"value": schema}}, {})

    assert [field.type for field in fields] == types
    assert all(field.field.startswith("input.value") for field in fields)


@pytest.mark.parametrize(
    "input",
    [
        pytest.param({"prompt": ""}, id="an empty text is a text"),
        pytest.param({"steps": 2.0}, id="a whole number is an integer"),
        pytest.param({"scale": 1}, id="an integer is a number"),
        pytest.param({"image": "data:image/png;base64,AAAA"}, id="data URL"),
        pytest.param({"either": 1}, id="one alternative is enough"),
        pytest.param({"unheard_of": object}, id="unknown inputs are ignored"),
    ],
)
def test_valid_inputs_pass(input: dict[str, object]) -> None:
    assert wrong(**input) == []


def test_a_training_is_checked_against_its_own_component() -> None:
    fields = validate({}, SCHEMA, component="TrainingInput")

    assert [(field.field, field.description) for field in fields] == [("input", "text is required")]


@pytest.mark.parametrize("schema", [{}, {"components": None}, {"components": {"schemas": {}}}])
def test_a_version_without_a_schema_accepts_everything(schema: dict[str, Any]) -> None:
    assert validate({"anything": None}, schema) == []


def test_a_circular_reference_ends() -> None:
    circle = {"$ref": "#/components/schemas/Input"}

    assert validate({"a": 1}, {"components": {"schemas": {"Input": circle}}}) == []


def test_a_problem_at_the_root_has_no_field_in_its_line() -> None:
    fields = [InvalidField(type="required", field="", description="version is required")]

    assert detail_text(fields) == "- version is required\n"


_JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from([*SCHEMA["components"]["schemas"]["Input"]["properties"]]), _JSON
    )
)
def test_any_json_is_accepted_or_refused_with_fields(input: dict[str, Any]) -> None:
    for field in validate(input, SCHEMA):
        assert field.type
        assert field.description
        assert field.field.startswith("input")


@pytest.mark.parametrize(
    ("value", "name"),
    [(float("inf"), "number"), (float("nan"), "number"), (1e300, "integer"), (-0.0, "integer")],
)
def test_odd_numbers_have_a_type(value: float, name: str) -> None:
    assert json_type(value) == name


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", r"a{99999999999}", "(?<name>a)", "["])
def test_a_pattern_that_python_does_not_know_is_not_checked(pattern: str) -> None:
    assert check("b", {"type": "string", "pattern": pattern}, {}) == []


def test_a_pattern_with_what_may_be_a_set_of_sets_warns_nowhere() -> None:
    assert check("[", {"type": "string", "pattern": "^[[a]$"}, {}) == []


A: Json = {"$ref": "#/components/schemas/A"}
B: Json = {"$ref": "#/components/schemas/B"}
LOOPS: list[tuple[Json, Json, list[str]]] = [
    ({"A": A}, "x", []),
    ({"A": {"anyOf": [A, A, {"type": "string"}]}}, "x", []),
    ({"A": {"allOf": [A, {"type": "string"}]}}, 1, ["invalid_type", "number_all_of"]),
    ({"A": {"not": A}}, "x", ["number_not"]),
    ({"A": {"oneOf": [B, {"type": "string"}]}, "B": {"anyOf": [A, {"type": "integer"}]}}, 1, []),
    ({"A": {"type": "array", "items": A}}, [[], ["x"]], ["invalid_type"]),
]


@pytest.mark.parametrize(("components", "value", "found"), LOOPS)
def test_a_schema_that_refers_to_itself_ends(
    components: dict[str, Any], value: Json, found: list[str]
) -> None:
    assert [field.type for field in check(value, A, components)] == found

    schemas = {**components, "Input": {"type": "object", "properties": {"a": A}}}
    inputs = Interface.read("a/b", {"components": {"schemas": schemas}}).inputs
    assert inputs is not None
    assert len(inputs["a"].type) < 80


@pytest.mark.parametrize("required", [3, "text", {"text": True}, [["text"], 1, None]])
def test_a_list_of_required_names_that_is_none_requires_nothing(required: Json) -> None:
    assert check({}, {"type": "object", "required": required}, {}) == []
