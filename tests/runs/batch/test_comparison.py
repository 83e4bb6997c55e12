"""What a list may show in place of an input that was sent, and what is certainly another."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.runs.batch.lost_creates.comparison import (
    ComparedInput,
    WholeFields,
    may_be,
)
from replicate_async.runs.batch.lost_creates.sent_input import canonical

A_CUT_FILE = "data:image/png;base64,AB="
UPLOAD = "https://api.replicate.com/v1/files/abc"
PROMPT = "  A cafe\u0301, a na\u00efve \ufb01sh\r\nand 12.75 more  "


def certainly_another(ours: object, shown: object, whole: object = None) -> bool:
    """Whether *shown* is not *ours*, in a list that shows the input *whole* as it was sent."""
    fields = None if whole is None else WholeFields()
    if fields is not None:
        fields.add(ComparedInput(canonical(whole)))
    return not may_be(ComparedInput(canonical(ours)), ComparedInput(canonical(shown)), fields)


@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": 1}, {"a": 1, "seed": 7}),
        ({"a": 1234567}, {"a": 1234600}),
        ({"a": 1234567}, {"a": "1.23e6"}),
        ({"a": 1234567}, {"a": "1,234,567"}),
        ({"a": True}, {"a": "yes"}),
        ({"a": PROMPT}, {"a": PROMPT[:9] + " [truncated]"}),
        ({"a": PROMPT}, {"a": PROMPT[:9] + "... (23 more characters)"}),
        ({"a": PROMPT}, {"a": PROMPT[:9] + "\u2026" + PROMPT[-9:]}),
        ({"a": PROMPT}, {"a": "..." + PROMPT[-9:]}),
        ({"a": PROMPT}, {"a": PROMPT[:9] + "\u200b" + PROMPT[9:]}),
        ({"a": PROMPT}, {"a": f'"{PROMPT.strip()}"'}),
        ({"a": PROMPT}, {"a": PROMPT.strip() + ", and a list adds to it"}),
        ({"a": PROMPT}, {"a": "This prompt was redacted."}),
        ({"a": UPLOAD}, {"a": UPLOAD + "?signature=abc"}),
        ({"a": UPLOAD}, {"a": "https://replicate.delivery/abc"}),
        ({"a": UPLOAD}, {"a": "https://api.replicate.com/v1/files/signed/xyz"}),
        ({"a": 7}, {"a": "7.0"}),
        ({"a": 7}, {"a": 7.25}),
        ({"a": 1}, {}),
        ({"a": PROMPT}, {"a": PROMPT.strip()}),
        ({"a": PROMPT}, {"a": PROMPT.replace("\r\n", "\n")}),
        ({"a": PROMPT}, {"a": PROMPT.replace("\r\n", "\r")}),
        ({"a": PROMPT}, {"a": PROMPT.replace("e\u0301", "\u00e9")}),
        ({"a": PROMPT}, {"a": PROMPT[:8]}),
        ({"a": PROMPT}, {"a": PROMPT.strip()[:12] + "..."}),
        ({"a": PROMPT}, {"a": PROMPT.strip()[:12] + "\u2026"}),
        ({"a": PROMPT}, {"a": " ".join(PROMPT.split())}),
        ({"a": PROMPT}, {"a": unicodedata.normalize("NFKC", PROMPT)}),
        ({"a": PROMPT}, {"a": PROMPT.lower()}),
        ({"a": "word"}, {"a": ""}),
        ({"a": 7}, {"a": "7"}),
        ({"a": "7"}, {"a": 7.0}),
        ({"a": 0.123456789}, {"a": 0.1235}),
        ({"a": 0.123456789}, {"a": 0.12}),
        ({"a": 7.6}, {"a": 8}),
        ({"a": 7.6}, {"a": 7}),
        ({"a": 7.6}, {"a": "7.6000"}),
        ({"a": 0.1}, {"a": 0.10000000149011612}),
        ({"a": 2**53 + 1}, {"a": float(2**53)}),
        ({"a": True}, {"a": "True"}),
        ({"a": True}, {"a": 1}),
        ({"a": [1, 2]}, {"a": "[1, 2]"}),
        ({"a": {"b": 1}}, {"a": '{"b": 1}'}),
        ({"a": [1, 2, 3]}, {"a": [1, 2]}),
        ({"a": "x", "b": 1}, {"a": None, "b": 1}),
        ({"key": "secret", "n": 1}, {"key": "[REDACTED]", "n": 1}),
        ({"key": "secret", "n": 1}, {"key": "******", "n": 1}),
        ({"key": "secret"}, {"key": "sec***"}),
        ({"key": 5}, {"key": "<redacted>"}),
        ({"f": A_CUT_FILE}, {"f": "https://elsewhere"}),
        ({"f": A_CUT_FILE}, {"f": "data:text/plain,a"}),
    ],
)
def test_what_the_list_shows_otherwise_may_be_ours(ours: Any, shown: Any) -> None:
    assert not certainly_another(ours, shown)


@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1234567}, {"a": 1234570}),
        ({"a": 1234567}, {"a": 1235600}),
        ({"a": 27}, {"a": 30}),
        ({"a": 1234}, {"a": 1200}),
        ({"a": UPLOAD}, {"a": UPLOAD[:-1] + "d"}),
        ({"a": UPLOAD}, {"a": "data:text/plain,a"}),
        ({"a": "a cat on a mat"}, {"a": "a dog... mat"}),
        ({"a": 7.25}, {"a": 7.75}),
        ({"a": 7.6}, {"a": 9}),
        ({"a": True}, {"a": False}),
        ({"a": "a fox"}, {"a": "a dog"}),
        ({"a": "a fox", "b": 1}, {"a": "a dog", "b": 1, "seed": 2}),
        ({"a": "a fox that runs"}, {"a": "a fox that r..ests"}),
        ({"a": [1, 2]}, {"a": [1, 3]}),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}),
        ({"a": 1_000_001}, {"a": 1_000_002}),
        ({"f": A_CUT_FILE, "p": "x"}, {"f": "https://elsewhere", "p": "y"}),
    ],
)
def test_a_field_of_both_that_differs_is_certainly_anothers(ours: Any, shown: Any) -> None:
    assert certainly_another(ours, shown)


TEXT = st.text(max_size=30)


@given(TEXT, st.integers(0, 30))
def test_no_cut_of_a_text_is_certainly_anothers(text: str, length: int) -> None:
    assert not certainly_another({"a": text}, {"a": text[:length]})
    assert not certainly_another({"a": text}, {"a": text.strip()[:length].strip()})


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 12))
def test_no_rounding_of_a_number_is_certainly_anothers(number: float, places: int) -> None:
    assert not certainly_another({"a": number}, {"a": round(number, places)})
    assert not certainly_another({"a": number}, {"a": str(round(number, places))})


WHOLE = {"a": "a long way home", "c": "\u72d0\u72d0\u72d0\u72d0", "n": 7.125}


@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        ({"a": "a red fox"}, {"a": "a red"}),
        ({"n": 7.25}, {"n": 7.2}),
        ({"n": 7.25}, {"n": 7}),
        ({"a": "a red"}, {"a": "a red fox"}),
        ({"n": 7}, {"n": 7.25}),
    ],
)
def test_a_list_that_shows_a_field_whole_does_not_cut_another(ours: Any, shown: Any) -> None:
    assert not certainly_another(ours, shown)
    assert certainly_another(ours, shown, WHOLE)


@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        ({"a": "a longer way home"}, {"a": "a longer"}),
        ({"a": "a fox\nand more"}, {"a": "a fox"}),
        ({"a": "\u72d0\u72d0\u72d0\u72d0\u72d0\u72d0"}, {"a": "\u72d0\u72d0"}),
        ({"c": "a red fox"}, {"c": "a re"}),
        ({"a": "a red fox"}, {"a": "a red..."}),
        ({"a": "a red fox"}, {"a": "[REDACTED]"}),
        ({"a": "a red fox"}, {"a": ""}),
        ({"a": "A red fox "}, {"a": "a red fox"}),
        ({"b": "a red fox"}, {"b": "a red"}),
        ({"n": 7.1253}, {"n": 7.125}),
        ({"n": 700.125}, {"n": 700}),
        ({"n": 7.25}, {"n": "7.2"}),
    ],
)
def test_what_else_a_list_may_show_is_not_ruled_out_by_that(ours: Any, shown: Any) -> None:
    assert not certainly_another(ours, shown, WHOLE)
