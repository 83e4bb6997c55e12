"""The two steps of a check agree, and types made of a schema refuse nothing that it accepts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_async.files.inputs import EncodedInput, encode_input
from replicate_async.interface.input_check import InputCheck
from replicate_async.interface.names import is_encodable
from replicate_async.interface.read import Interface, mapping, resolve
from replicate_async.interface.refusal import refuse
from replicate_async.interface.structs import input_struct, quick_struct
from tests.support.schemas import SCHEMAS, case, load, valid_input


class Published(NamedTuple):
    """A published model, with the checks of its schema and of the Struct made of it."""

    interface: Interface
    valid: dict[str, Any]
    check: InputCheck
    of_struct: InputCheck
    quick: type[msgspec.Struct] | None


@cache
def published(path: Path) -> Published:
    document = load(path)
    interface = Interface.read("acme/model", document)
    of_struct = InputCheck.of_struct("acme/model", input_struct(interface))
    valid = valid_input(document)
    return Published(interface, valid, InputCheck(interface), of_struct, quick_struct(interface))


texts = st.text(max_size=12) | st.sampled_from(
    ["", "https://example.com/a.png", "data:text/plain,a", "cat.png", "http:a\\b", "None", "512"]
)
numbers = (
    st.integers(-(2**70), 2**70)
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


def values_near(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values at the bounds, the choices and the default of *schema*, and any others."""
    near: list[Any] = [schema.get("default"), *schema.get("enum", ())]
    for word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "ge", "le"):
        bound = schema.get(word)
        if isinstance(bound, int | float) and not isinstance(bound, bool):
            near += [bound, bound - 1, bound + 1, bound + 0.5, float(bound)]
    for word in ("minLength", "maxLength"):
        length = schema.get(word)
        if isinstance(length, int) and length < 10_000:
            near += ["x" * max(0, length + each) for each in (-1, 0, 1)]
    return st.sampled_from(near) | values


@st.composite
def inputs(draw: st.DrawFn) -> tuple[Published, dict[str, Any]]:
    """Draw a published model, and a valid input of it with a few changes."""
    model = published(draw(st.sampled_from(SCHEMAS)))
    changed = dict(model.valid)
    fields = model.interface.inputs or {}
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)) if fields else ():
        if draw(st.integers(0, 9)) == 0:
            changed.pop(name, None)
        else:
            changed[name] = draw(values_near(dict(fields[name].schema)))
    if draw(st.integers(0, 9)) == 0:
        changed[draw(texts)] = draw(values)
    return model, changed


def encoded(given: dict[str, Any]) -> EncodedInput:
    return encode_input(given)


def accepts_more(model: Published, given: dict[str, Any]) -> bool:
    """Whether a module leaves a part of the check to the API.

    It is a bound beyond 64 bits, an enum of another type, or a name that no Struct can have.
    """
    for name in given:
        if not is_encodable(name):
            return True
        known = (model.interface.inputs or {}).get(name)
        schema = mapping(known and known.schema)
        bounds = [schema.get(word) for word in ("minimum", "maximum", "ge", "le")]
        large = any(isinstance(each, int | float) and abs(each) >= 2**63 for each in bounds)
        kinds = {type(choice).__name__ for choice in schema.get("enum", ())}
        words = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
        if large or (kinds and kinds != {words.get(str(schema.get("type")))}):
            return True
        items = resolve(mapping(schema.get("items")), model.interface.components)
        if items.get("enum"):
            return True
    return False


def agree(model: Published, given: dict[str, Any]) -> None:
    draft = encoded(given)
    walked = refuse(draft.values, model.interface)

    if model.quick is not None:
        try:
            msgspec.convert(draft.values, model.quick)
        except (msgspec.ValidationError, OverflowError):
            pass
        else:
            assert walked is None, (model.interface.ref, given, walked)
    assert (model.check.refusal(draft) is None) is (walked is None)
    refused = model.of_struct.refusal(draft)
    if walked is None:
        assert refused is None, (given, refused)
    elif refused is None:
        assert accepts_more(model, draft.values), (given, walked)


@given(inputs())
@settings(max_examples=400)
def test_the_two_steps_of_a_check_agree(drawn: tuple[Published, dict[str, Any]]) -> None:
    agree(*drawn)


@pytest.mark.slow
@given(inputs())
@settings(max_examples=3_000)
def test_the_two_steps_of_a_check_agree_about_many_inputs(
    drawn: tuple[Published, dict[str, Any]],
) -> None:
    agree(*drawn)


def test_an_input_of_a_published_model_is_checked_alike_by_its_types() -> None:
    for path in SCHEMAS:
        with case(path):
            model = published(path)

            agree(model, model.valid)
            agree(model, {})
            agree(model, {**model.valid, "no such input": 1})
