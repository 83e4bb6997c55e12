from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async import InvalidArgumentError
from replicate_async.web import ResumePoint, resume_point

POINT = ResumePoint("abc123", "1690212292:0", chars_sent=42)


@given(
    st.from_regex(r"[a-z0-9]{1,40}", fullmatch=True),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200),
    st.integers(0, 10**12 - 1),
)
def test_a_point_survives_the_way_to_the_browser_and_back(
    prediction_id: str, event: str, sent: int
) -> None:
    point = ResumePoint(prediction_id, event, sent)

    assert ResumePoint.parse(str(point)) == point


def test_the_end_is_a_point_too() -> None:
    assert ResumePoint.parse("abc123/end") == ResumePoint("abc123", finished=True)
    assert str(ResumePoint("abc123", finished=True)) == "abc123/end"


@pytest.mark.parametrize("name", ["Last-Event-ID", "last-event-id", "LAST-EVENT-ID"])
def test_the_header_says_where_to_go_on(name: str) -> None:
    assert resume_point({name: str(POINT)}) == POINT


def test_a_page_that_was_loaded_again_says_it_in_the_query() -> None:
    assert resume_point({}, {"last_event_id": str(POINT)}) == POINT


def test_the_header_is_newer_than_the_query() -> None:
    headers, query = {"Last-Event-ID": "abc123/end"}, {"last_event_id": str(POINT)}

    assert resume_point(headers, query) == ResumePoint("abc123", finished=True)


@pytest.mark.parametrize(
    "text",
    ["", "7", "abc123", "abc123/", "abc123/x/7:0", "/3/7:0", "../x/3/7", "abc123/3/7\n8", "a/-1/"],
)
def test_what_means_nothing_counts_for_nothing(text: str) -> None:
    assert resume_point({"Last-Event-ID": text}) is None
    with pytest.raises(InvalidArgumentError):
        ResumePoint.parse(text)


def test_a_point_of_another_prediction_counts_for_nothing() -> None:
    headers = {"Last-Event-ID": str(POINT)}

    assert resume_point(headers, prediction_id="abc123") == POINT
    assert resume_point(headers, prediction_id="other") is None
