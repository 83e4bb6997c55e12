from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest

from replicate_async.core.sse import Event, EventTooLarge, Parser
from tests.support.chunks import cut, run, single

MEBIBYTE = 1024 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 1_000, MEBIBYTE])
def test_a_long_line_in_any_pieces_takes_time_in_proportion(size: int) -> None:
    # Quadratic work on a megabyte of single bytes would take longer than a test may.
    data = b"data: " + b"x" * MEBIBYTE + b"\n\n"
    (event,) = run(data[i : i + size] for i in range(0, len(data), size))
    assert len(event.data) == MEBIBYTE


def endless(prefix: bytes, repeated: bytes) -> Iterator[bytes]:
    yield prefix
    yield from itertools.repeat(repeated)


@pytest.mark.parametrize(
    ("prefix", "repeated"),
    [
        pytest.param(b"data: ", b"x" * 16_384, id="line", marks=pytest.mark.slow),
        pytest.param(b"event: ", b"x" * 16_384, id="event name", marks=pytest.mark.slow),
        pytest.param(b": ", b"x" * 16_384, id="comment", marks=pytest.mark.slow),
        pytest.param(b"", b"unknown" * 2_000, id="field name", marks=pytest.mark.slow),
        pytest.param(b"", b"data\n" * 4_096, id="empty data lines", marks=pytest.mark.slow),
        pytest.param(b"", b"data:xy\n" * 4_096, id="short data lines"),
        pytest.param(
            b"", b"data:xy\r\n" * 4_096, id="short CRLF data lines", marks=pytest.mark.slow
        ),
        pytest.param(
            b"", b"event: name\nid: 1\n" * 1_024, id="repeated fields", marks=pytest.mark.slow
        ),
        pytest.param(b"data: a\n", b"data: " + b"x" * 80_000 + b"\n", id="long data lines"),
    ],
)
def test_what_never_ends_is_refused_within_twice_the_cap(prefix: bytes, repeated: bytes) -> None:
    cap = 512 * 1024
    parser = Parser(cap)
    tracemalloc.start()
    try:
        with pytest.raises(EventTooLarge, match="exceeds 524288 bytes: raise max_event_bytes"):
            run(endless(prefix, repeated), parser)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 2 * cap
    assert kept <= cap / 2


def test_an_event_at_the_cap_is_taken_with_about_twice_its_memory() -> None:
    cap = 2 * MEBIBYTE
    text = b"x" * (cap - 7)
    chunks = cut(b"data: " + text + b"\n\n", range(0, cap, 65_536))
    parser = Parser(cap)
    tracemalloc.start()
    try:
        (event,) = run(chunks, parser)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(event.data) == len(text)
    assert peak <= 2.25 * cap


@pytest.mark.parametrize(
    "data",
    [
        b"data: 0123456789\n\n",
        b": 0123456789abcd\n\n",
        b"data: 01234\ndata: 5678\n\n",
        b"id: 01234567890123\n\n",
    ],
)
def test_the_cap_does_not_depend_on_the_cut(data: bytes) -> None:
    # The first cap at which each is accepted whole is the first for all cuts.
    def accepted(cap: int, chunks: list[bytes]) -> bool:
        try:
            run([b"\n", *chunks], Parser(cap))
        except EventTooLarge:
            return False
        return True

    for cap in range(1, len(data) + 2):
        whole = accepted(cap, [data])
        assert all(accepted(cap, cut(data, [at])) == whole for at in range(len(data) + 1))
        assert accepted(cap, single(data)) == whole
    assert accepted(len(data), [data])
    assert not accepted(len(data) // 2, [data])


def test_keep_alive_comments_do_not_add_up() -> None:
    parser = Parser(100)
    for _ in range(1_000):
        assert parser.feed(b": keep-alive\n") == []
    assert parser.feed(b"data: a\n\n") == [Event(data="a")]


def test_many_events_may_exceed_the_cap_together() -> None:
    assert len(Parser(20).feed(b"data: 0123456789\n\n" * 100)) == 100


def test_events_before_one_beyond_the_cap_are_returned_first() -> None:
    parser = Parser(20)
    assert parser.feed(b"id: 1\ndata: a\n\ndata: " + b"x" * 30) == [
        Event(data="a", id="1", has_id=True)
    ]
    for _ in range(2):
        with pytest.raises(EventTooLarge):
            parser.feed(b"")
    parser.close()
    assert parser.last_event_id == "1"
    assert parser.feed(b"data: b\n\n") == [Event(data="b", id="1")]


@pytest.mark.parametrize("cap", [0, -1])
def test_a_cap_must_be_positive(cap: int) -> None:
    with pytest.raises(ValueError, match="max_event_bytes must be at least 1"):
        Parser(cap)
