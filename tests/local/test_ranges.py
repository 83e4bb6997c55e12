from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.local.http.file_response import content_disposition
from replicate_async.local.http.ranges import Selection, Span, select

ETAG = '"abc"'
SIZES = st.integers(0, 50)


def asked(size: int = 10, method: str = "GET", **headers: str) -> Selection:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return select(method, named, etag=ETAG, size=size)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-3", Span(0, 4)),
        ("Bytes=2-", Span(2, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-99", Span(0, 10)),
        ("bytes= 9-99 ", Span(9, 10)),
        ("bytes=0-999999999999999999", Span(0, 10)),
    ],
)
def test_a_range_is_part_of_the_file(header: str, expected: Span) -> None:
    assert asked(Range=header) == Selection(206, expected)


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-11", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused(header: str) -> None:
    assert asked(Range=header) == Selection(416)


@pytest.mark.parametrize(
    "header",
    ["", "bytes=-", "bytes=3-2", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b", "bytes=\u0661-", "0-1"],
)
def test_other_than_a_single_range_is_answered_with_all(header: str) -> None:
    assert asked(Range=header) == Selection(200, Span(0, 10))


def test_an_empty_file_has_a_suffix_but_no_first_byte() -> None:
    assert asked(0, Range="bytes=-5") == Selection(200, Span(0, 0))
    assert asked(0, Range="bytes=0-") == Selection(416)


def test_only_get_has_ranges() -> None:
    assert asked(method="HEAD", Range="bytes=0-1") == Selection(200, Span(0, 10))


@given(SIZES, st.integers(0, 60), st.none() | st.integers(0, 60))
def test_ranges_are_slices(size: int, first: int, last: int | None) -> None:
    content = bytes(range(size))
    status, span = asked(size, Range=f"bytes={first}-{'' if last is None else last}")

    if last is not None and last < first:
        assert (status, span) == (200, Span(0, size))
    elif first >= size:
        assert (status, span) == (416, None)
    else:
        assert status == 206
        assert span is not None
        stop = None if last is None else last + 1
        assert content[span.start : span.stop] == content[first:stop]
        assert span.size == len(content[first:stop])


@given(st.integers(1, 50), st.integers(1, 60))
def test_suffixes_are_slices(size: int, count: int) -> None:
    content = bytes(range(size))
    status, span = asked(size, Range=f"bytes=-{count}")

    assert status == 206
    assert span is not None
    assert content[span.start : span.stop] == content[-count:]


@given(SIZES, st.text() | st.from_regex(r"bytes=\d*-\d*(,\d*-\d*)?", fullmatch=True))
def test_no_range_exceeds_the_file(size: int, header: str) -> None:
    status, span = asked(size, Range=header)

    assert status in {200, 206, 416}
    assert (span is None) == (status == 416)
    assert span is None or 0 <= span.start <= span.stop <= size
    assert status != 206 or (span is not None and span.size > 0)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_Range": ETAG}, 206),
        ({"If_Range": f"W/{ETAG}"}, 200),
        ({"If_Range": '"other"'}, 200),
        ({"If_Range": "Mon, 23 Nov 2026 22:00:00 GMT"}, 200),
        ({"If_None_Match": ETAG}, 304),
        ({"If_None_Match": f'"a,b", W/{ETAG}'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"abcd", "ab", abc'}, 206),
        ({"If_Match": ETAG}, 206),
        ({"If_Match": "*"}, 206),
        ({"If_Match": f"W/{ETAG}"}, 412),
        ({"If_Match": '"other"', "If_None_Match": ETAG}, 412),
    ],
)
def test_conditions_are_checked_before_the_range(headers: dict[str, str], status: int) -> None:
    assert asked(10, "GET", Range="bytes=0-1", **headers).status == status


def test_a_disposition_is_ascii() -> None:
    assert content_disposition("inline", "cat.png") == 'inline; filename="cat.png"'
    assert content_disposition("attachment", "caf\u00e9 1.png") == (
        "attachment; filename=\"caf_ 1.png\"; filename*=UTF-8''caf%C3%A9%201.png"
    )
