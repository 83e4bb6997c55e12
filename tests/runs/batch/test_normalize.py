"""The normalized form in which inputs are compared with predictions."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.runs.batch.comparison import comparable, differs, matches
from replicate_async.runs.batch.identity import A_FILE, fields, normalize
from replicate_async.runs.batch.matching import ComparedInput

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Color(enum.Enum):
    RED = "red"


@given(JSON)
def test_an_input_matches_itself_after_a_round_trip(value: Any) -> None:
    decoded = msgspec.json.decode(msgspec.json.encode(value))
    assert matches(normalize(value), normalize(decoded))
    assert not differs(comparable(normalize(value)), comparable(normalize(decoded)))


def test_numbers_and_booleans_are_compared_as_json_does() -> None:
    assert matches(normalize({"a": 1.0}), normalize({"a": 1}))
    assert not matches(normalize({"a": True}), normalize({"a": 1}))
    assert not matches(normalize({"a": [1]}), normalize({"a": [1, 2]}))
    assert not matches(normalize({"a": 1}), normalize({"a": 1, "b": 2}))
    given = {"when": datetime(2026, 1, 2, tzinfo=UTC), "c": Color.RED, "s": {3}}
    assert normalize(fields(given)) == {
        "when": "2026-01-02T00:00:00Z",
        "c": "red",
        "s": [3],
    }


def test_any_string_may_stand_for_a_file_and_nothing_else() -> None:
    for file in (Path("a"), b"a", BytesIO(), "data:text/plain,a"):
        ours = normalize(fields({"f": file, "n": [1]}))
        assert ComparedInput(ours).has_file
        assert not matches(ours, normalize({"f": "https://elsewhere", "n": [1]}))
        assert not matches(ours, normalize({"f": 3, "n": [1]}))
        assert not matches(ours, normalize({"f": "https://elsewhere", "n": [2]}))
    assert ComparedInput([{"deep": A_FILE}]).has_file
    assert not ComparedInput({"a": ["b"]}).has_file
    assert repr(A_FILE) == "<a file>"
