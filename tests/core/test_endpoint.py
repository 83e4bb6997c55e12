"""Values in the path of an endpoint."""

from __future__ import annotations

import pytest

from replicate_async.core.endpoint import SegmentError, segment


@pytest.mark.parametrize("value", ["a" * 513, "\u00fc" * 513, "a-" * 257])
def test_a_segment_that_is_too_long_is_refused(value: str) -> None:
    with pytest.raises(SegmentError, match="is longer than 512 characters"):
        segment("prediction_id", value)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [("a" * 512, "a" * 512), ("caf\u00e9", "caf%C3%A9"), ("\u0663", "%D9%A3"), ("a.b-c", "a.b-c")],
)
def test_a_segment_is_ascii_once_it_is_encoded(value: str, encoded: str) -> None:
    assert segment("prediction_id", value) == encoded


@pytest.mark.parametrize("value", ["a/b", "a b", "a?b", "a%2fb", "..", ""])
def test_a_segment_that_would_change_the_path_is_refused(value: str) -> None:
    with pytest.raises(SegmentError):
        segment("prediction_id", value)
