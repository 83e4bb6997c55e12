"""The normalized form in which inputs are compared with predictions."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.runs.batch.lost_creates.comparison import ComparedInput, may_be
from replicate_async.runs.batch.lost_creates.sent_input import canonical, normalize
from tests.runs.batch.canonical import fields

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


def differs(ours: Any, shown: Any) -> bool:
    return not may_be(ComparedInput(canonical(ours)), ComparedInput(canonical(shown)))


@given(JSON)
def test_an_input_matches_itself_after_a_round_trip(value: Any) -> None:
    decoded = msgspec.json.decode(msgspec.json.encode(value))
    assert canonical(value) == canonical(decoded)
    assert not differs(value, decoded)


def test_numbers_and_booleans_are_compared_as_json_does() -> None:
    def same(ours: Any, shown: Any) -> bool:
        return canonical(ours) == canonical(shown)

    assert same({"a": 1.0, "b": 2}, {"b": 2, "a": 1})
    assert not same({"a": True}, {"a": 1})
    assert not same({"a": [1]}, {"a": [1, 2]})
    assert not same({"a": 1}, {"a": 1, "b": 2})
    given = {"when": datetime(2026, 1, 2, tzinfo=UTC), "c": Color.RED, "s": {3}}
    assert normalize(fields(given)) == {
        "when": "2026-01-02T00:00:00Z",
        "c": "red",
        "s": [3],
    }


def test_any_string_may_stand_for_a_file_and_nothing_else() -> None:
    for file in ("data:text/plain,a", "data:text/plain;base64,A"):
        ours = {"f": file, "n": [1]}
        for shown in ({"f": "https://elsewhere", "n": [1]}, {"f": 3, "n": [1]}):
            assert canonical(ours) != canonical(shown)
            assert not differs(ours, shown)
        assert differs(ours, {"f": "https://elsewhere", "n": [2]})


def test_a_data_url_is_kept_by_its_content() -> None:
    kept: Any = normalize(["data:text/plain,words", "data:;base64,d29yZHM=", "data:,other"])
    assert kept[0] == kept[1] != kept[2]
    assert normalize(kept) == kept
    assert normalize("data: cats, blue") == "data: cats, blue"
    assert differs("data: cats, blue", "data: dogs, blue")
    large = normalize("data:," + "x" * 1_000_000)
    assert len(canonical(large)) < 2000
    assert normalize("data:image/png;base64,A") == "data:image/png;base64,A"
