from __future__ import annotations

import base64
import itertools
import pickle
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.sse import Event, EventTooLarge, Parser, encode

VECTORS: dict[str, Any] = msgspec.json.decode(
    (Path(__file__).parent.parent / "data" / "sse.json").read_bytes()
)
SMALL = [vector for vector in VECTORS["vectors"] if "input_base64" in vector]
LARGE = [vector for vector in VECTORS["vectors"] if "input_recipe" in vector]
NAMES = [vector["name"] for vector in SMALL]
MEBIBYTE = 1024 * 1024


def run(chunks: Iterable[bytes], parser: Parser | None = None) -> list[Event]:
    parser = Parser() if parser is None else parser
    return [event for chunk in chunks for event in parser.feed(chunk)]


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    bounds = [0, *sorted(at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def single(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def expected_events(rows: Sequence[dict[str, Any]]) -> list[Event]:
    return [msgspec.convert(row, Event) for row in rows]


def without_marks(events: Iterable[Event]) -> list[Event]:
    """Return *events* as the vectors write them, which do not say whose an id is."""
    return [msgspec.structs.replace(event, has_id=False) for event in events]


def input_of(vector: dict[str, Any]) -> bytes:
    return base64.b64decode(vector["input_base64"])


def check(vector: dict[str, Any], chunks: list[bytes]) -> None:
    parser = Parser()
    assert without_marks(run(chunks, parser)) == expected_events(vector["expected"])
    parser.close()
    assert parser.last_event_id == vector["final"]["last_event_id"]
    assert parser.retry == vector["final"].get("reconnection_time_ms")


def test_the_vectors_are_all_here() -> None:
    assert len(VECTORS["vectors"]) == 94
    assert len(SMALL) + len(LARGE) == 94
    assert len(VECTORS["connection_cases"]) == 11


@pytest.mark.parametrize("vector", SMALL, ids=NAMES)
def test_vector_uncut(vector: dict[str, Any]) -> None:
    check(vector, [input_of(vector)])


@pytest.mark.parametrize("vector", SMALL, ids=NAMES)
def test_vector_byte_by_byte(vector: dict[str, Any]) -> None:
    check(vector, single(input_of(vector)))


@pytest.mark.parametrize("vector", SMALL, ids=NAMES)
def test_vector_at_every_cut_in_two(vector: dict[str, Any]) -> None:
    data = input_of(vector)
    for at in range(0, len(data) + 1, max(1, len(data) // 1000)):
        check(vector, [data[:at], data[at:]])


@pytest.mark.parametrize("vector", SMALL, ids=NAMES)
def test_vector_at_every_cut_in_three_with_an_empty_chunk(vector: dict[str, Any]) -> None:
    data = input_of(vector)
    positions = range(0, len(data) + 1, max(1, len(data) // 30))
    for first, second in itertools.combinations(positions, 2):
        check(vector, [data[:first], b"", data[first:second], data[second:]])


@pytest.mark.parametrize(
    "vector",
    [vector for vector in SMALL if "chunks_base64" in vector],
    ids=[vector["name"] for vector in SMALL if "chunks_base64" in vector],
)
def test_vector_as_its_source_cut_it(vector: dict[str, Any]) -> None:
    check(vector, [base64.b64decode(chunk) for chunk in vector["chunks_base64"]])


@pytest.mark.parametrize(
    "vector",
    [vector for vector in SMALL if "expected_count_after_chunk" in vector],
    ids=[vector["name"] for vector in SMALL if "expected_count_after_chunk" in vector],
)
def test_vector_events_are_not_late(vector: dict[str, Any]) -> None:
    chunks = [base64.b64decode(chunk) for chunk in vector.get("chunks_base64", ())]
    parser = Parser()
    counts = itertools.accumulate(len(parser.feed(chunk)) for chunk in chunks or [input_of(vector)])
    assert list(counts) == vector["expected_count_after_chunk"]


@pytest.mark.parametrize(
    "vector",
    [vector for vector in SMALL if "comments" in vector],
    ids=[vector["name"] for vector in SMALL if "comments" in vector],
)
def test_vector_comments_are_seen(vector: dict[str, Any]) -> None:
    parser = Parser()
    latest = [(parser.feed(byte), parser.last_comment)[1] for byte in single(input_of(vector))]
    assert [comment for comment, _ in itertools.groupby(latest) if comment] == vector["comments"]
    parser = Parser()
    parser.feed(input_of(vector))
    assert parser.last_comment == vector["comments"][-1]


@pytest.mark.parametrize("vector", LARGE, ids=[vector["name"] for vector in LARGE])
@pytest.mark.parametrize("size", [None, 1 << 20, 65_536, 4_099])
def test_large_vector(vector: dict[str, Any], size: int | None) -> None:
    recipe, (outcome,) = vector["input_recipe"], vector["expected_recipe"]
    data = (recipe["prefix"] + recipe["repeat"] * recipe["count"] + recipe["suffix"]).encode()
    step = size or -(-len(data) // recipe["chunks"])
    (event,) = run(data[i : i + step] for i in range(0, len(data), step))
    assert (event.event, event.id, event.retry) == (outcome["event"], outcome["id"], None)
    assert len(event.data) == outcome["count"]
    assert event.data == outcome["data_repeat"] * outcome["count"]


@pytest.mark.parametrize(
    "case", VECTORS["connection_cases"], ids=[c["name"] for c in VECTORS["connection_cases"]]
)
def test_one_parser_serves_several_connections(case: dict[str, Any]) -> None:
    parser = Parser()
    for connection in case["connections"]:
        sent = connection.get("request_last_event_id") or ""
        if "request_last_event_id_base64" in connection:
            sent = base64.b64decode(connection["request_last_event_id_base64"]).decode()
        assert parser.last_event_id == sent
        body = base64.b64decode(connection["response_base64"])
        events = without_marks(run(single(body), parser))
        assert events == expected_events_without_retry(connection, parser, body)
        parser.close()


def expected_events_without_retry(
    connection: dict[str, Any], parser: Parser, body: bytes
) -> list[Event]:
    # The connection cases do not say which events bring a retry; the one field in each body does.
    rows = expected_events(connection["events"])
    if b"retry" in body and rows:
        rows[0] = msgspec.structs.replace(rows[0], retry=parser.retry)
    return rows


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (b"event:  x \ndata: y\n\n", Event(event=" x ", data="y")),
        (b"event: \ndata: y\n\n", Event(data="y")),
        (b"event\ndata: y\n\n", Event(data="y")),
        (b"event: a\nevent: b\ndata: y\n\n", Event(event="b", data="y")),
        (b"id: a\nid: b\ndata: y\n\n", Event(data="y", id="b", has_id=True)),
        (b"id:  a\ndata: y\n\n", Event(data="y", id=" a", has_id=True)),
        (
            b"event: e:v\nid: 1:2\ndata: a: b\n\n",
            Event(event="e:v", data="a: b", id="1:2", has_id=True),
        ),
        (b"data: \xff\xe2\x82\n\n", Event(data="\ufffd\ufffd")),
        (
            b"event: \xff\nid: \xff\ndata: y\n\n",
            Event(event="\ufffd", data="y", id="\ufffd", has_id=True),
        ),
        ("data: \u2028\x85\x0b\x0c\u2029\n\n".encode(), Event(data="\u2028\x85\x0b\x0c\u2029")),
        (b"data: a\ndata: b\nevent: e\n\n", Event(event="e", data="a\nb")),
        (b"data: data: a\ndata: data: b\n\n", Event(data="data: a\ndata: b")),
        (b"data: a\n: between\ndata: b\n\n", Event(data="a\nb")),
        (b"retry: 5\ndata: a\n\n", Event(data="a", retry=5)),
        (b"retry: 0\ndata: a\n\n", Event(data="a", retry=0)),
        (b"retry: 5 \ndata: a\n\n", Event(data="a")),
        (b"retry: -5\ndata: a\n\n", Event(data="a")),
        (b"retry: 1_0\ndata: a\n\n", Event(data="a")),
        ("retry: \u0663\ndata: a\n\n".encode(), Event(data="a")),
        (b"retry: " + b"9" * 5000 + b"\ndata: a\n\n", Event(data="a", retry=2**63 - 1)),
        (b"retry: " + b"0" * 5000 + b"7\ndata: a\n\n", Event(data="a", retry=7)),
    ],
)
def test_field_rules(data: bytes, event: Event) -> None:
    assert run([data]) == [event]
    assert run(single(data)) == [event]


def test_nothing_is_dispatched_without_data() -> None:
    parser = Parser()
    assert parser.feed(b"\n\n: hi\n\nevent: x\n\nretry: 7\n\nid: 1\n\n\n") == []
    assert parser.retry == 7


def test_an_event_keeps_no_type_or_retry_of_a_block_without_data() -> None:
    assert run([b"event: x\nretry: 7\n\ndata: y\n\n"]) == [Event(data="y")]


def test_the_id_of_a_block_without_data_counts_from_its_blank_line() -> None:
    parser = Parser()
    parser.feed(b"id: 1\ndata: a\n\nid: 2\n")
    assert parser.last_event_id == "1"
    parser.feed(b"\n")
    assert parser.last_event_id == "2"
    assert parser.feed(b"data: b\n\n") == [Event(data="b", id="2")]


def test_retry_counts_before_the_blank_line() -> None:
    parser = Parser()
    parser.feed(b"retry: 2\n")
    assert parser.retry == 2


def test_a_partial_event_and_its_id_are_dropped_at_the_end() -> None:
    parser = Parser()
    parser.feed(b"id: 1\ndata: a\n\nid: 2\nevent: x\nretry: 3\ndata: lost\ndata: cut \xe2")
    parser.close()
    assert parser.last_event_id == "1"
    assert parser.feed(b"data: b\n\n") == [Event(data="b", id="1")]


def test_each_connection_may_begin_with_a_byte_order_mark() -> None:
    parser = Parser()
    for _ in range(2):
        assert run(single(b"\xef\xbb\xbfdata: a\n\n"), parser) == [Event(data="a")]
        parser.close()


def test_a_carriage_return_at_the_end_of_a_connection_takes_no_line_feed_of_the_next() -> None:
    parser = Parser()
    assert parser.feed(b"data: a\r\r") == [Event(data="a")]
    parser.close()
    parser.feed(b"\ndata: b\n")
    assert parser.feed(b"\n") == [Event(data="b")]


def test_a_resumed_stream_begins_with_the_id_it_resumed_from() -> None:
    parser = Parser(last_event_id="7")
    assert parser.last_event_id == "7"
    assert parser.feed(b"data: a\n\n") == [Event(data="a", id="7")]


def test_the_timeout_comment_of_an_idle_stream_is_seen_until_the_next_stream() -> None:
    parser = Parser()
    seen = [parser.last_comment]
    for data in (b": hi\n\ndata: a\n\n", b":408: 408 Request Timeout\n", b"", b"data: a\n"):
        if not data:
            parser.close()
        parser.feed(data)
        seen.append(parser.last_comment)
    timeout = "408: 408 Request Timeout"
    assert seen == [None, " hi", timeout, timeout, None]


def test_only_the_beginning_of_a_long_comment_is_kept() -> None:
    parser = Parser()
    parser.feed(b":" + b"x" * 5000 + b"\n")
    assert parser.last_comment == "x" * 1024


def test_an_event_is_a_frozen_value() -> None:
    event = Event(event="output", data="a", id="1")
    assert event == Event(event="output", data="a", id="1", retry=None)
    assert hash(event) == hash(pickle.loads(pickle.dumps(event)))
    assert not hasattr(event, "__dict__")
    with pytest.raises(AttributeError):
        event.data = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] - the point


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
        pytest.param(b"data: ", b"x" * 16_384, id="line"),
        pytest.param(b"event: ", b"x" * 16_384, id="event name"),
        pytest.param(b": ", b"x" * 16_384, id="comment"),
        pytest.param(b"", b"unknown" * 2_000, id="field name"),
        pytest.param(b"", b"data\n" * 4_096, id="empty data lines"),
        pytest.param(b"", b"data:xy\n" * 4_096, id="short data lines"),
        pytest.param(b"", b"data:xy\r\n" * 4_096, id="short CRLF data lines"),
        pytest.param(b"", b"event: name\nid: 1\n" * 1_024, id="repeated fields"),
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


FRAGMENTS = (
    [b"data", b"event", b"id", b"retry", b"x", b":", b": ", b" ", b"\0", b"7", b"tok"],
    [b"data: a", b"id: 1", b"event: output", b"event: output\nid: 1:0\ndata: tok\n\n"],
    [b"\n", b"\n", b"\n\n", b"\r", b"\r\n"],
    [b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xff", b"\xe2"],
)
FRAGMENT_BYTES = st.lists(st.sampled_from(list(itertools.chain(*FRAGMENTS))), max_size=40).map(
    b"".join
)


def read_literally(data: bytes) -> tuple[list[Event], str, int | None]:
    """The specification's steps, taken one by one on the whole stream."""
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    events: list[Event] = []
    buffers = {"data": "", "event": ""}
    id_buffer = last_id = ""
    reconnection: int | None = None
    retry: int | None = None
    marked = False
    for line in text.split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            last_id = id_buffer
            if buffers["data"]:
                name = buffers["event"] or "message"
                text = buffers["data"].removesuffix("\n")
                event = Event(event=name, data=text, id=last_id, retry=retry, has_id=marked)
                events.append(event)
            buffers, retry, marked = {"data": "", "event": ""}, None, False
        elif name == "data":
            buffers["data"] += value + "\n"
        elif name == "event":
            buffers["event"] = value
        elif name == "id" and "\0" not in value:
            id_buffer, marked = value, True
        elif name == "retry" and value.isascii() and value.isdigit():
            retry = reconnection = int(value)
    return events, last_id, reconnection


@given(data=FRAGMENT_BYTES, random=st.randoms(use_true_random=False))
def test_any_bytes_at_any_cut_mean_what_the_specification_says(data: bytes, random: Random) -> None:
    events, last_id, retry = read_literally(data)
    cuts = random.sample(range(len(data) + 1), min(len(data), 4))
    for chunks in ([data], single(data), cut(data, cuts)):
        parser = Parser()
        assert run(chunks, parser) == events
        assert parser.last_event_id == last_id
        assert parser.retry == retry


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20)
WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=8)
EVENTS = st.lists(
    st.tuples(WORD, TEXT, st.none() | WORD, st.none() | st.integers(0, 2**63 - 1)), max_size=8
)


@given(events=EVENTS, random=st.randoms(use_true_random=False))
def test_what_is_encoded_is_parsed_back_at_any_cut(
    events: list[tuple[str, str, str | None, int | None]], random: Random
) -> None:
    data = b"".join(encode(*event) for event in events)
    expected: list[Event] = []
    last_id = ""
    for name, text, id_, retry in events:
        last_id = last_id if id_ is None else id_
        event = Event(event=name or "message", data=text, id=last_id, retry=retry)
        expected.append(msgspec.structs.replace(event, has_id=id_ is not None))
    assert run([data]) == expected
    assert run(single(data)) == expected
    assert run(cut(data, random.sample(range(len(data) + 1), min(len(data), 3)))) == expected


@given(events=EVENTS.filter(bool))
def test_well_formed_streams_read_as_httpx_sse_reads_them(
    events: list[tuple[str, str, str | None, int | None]],
) -> None:
    data = b"".join(encode(*event) for event in events)
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=data)
    theirs = list(EventSource(response).iter_sse())
    assert [(e.event, e.data, e.id, e.retry) for e in run([data])] == [
        (sse.event, sse.data, sse.id, sse.retry) for sse in theirs
    ]


def test_encode_writes_the_lines_in_the_order_of_the_service() -> None:
    assert (
        encode("output", " a\n\nb", "1690212292:0")
        == b"event: output\nid: 1690212292:0\ndata:  a\ndata: \ndata: b\n\n"
    )
    assert encode("done", "{}", retry=500) == b"event: done\nretry: 500\ndata: {}\n\n"
    assert encode("", "", "") == b"id: \ndata: \n\n"


def test_encode_keeps_text_that_looks_like_a_line_end() -> None:
    assert run([encode("output", "a\rb\r\nc\u2028\x85d")]) == [
        Event(event="output", data="a\nb\nc\u2028\x85d")
    ]


def test_encode_replaces_a_lone_surrogate() -> None:
    assert encode("", "a\ud800b") == b"data: a?b\n\n"


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
def test_encode_refuses_what_would_change_the_stream(bad: str) -> None:
    with pytest.raises(ValueError, match="event must not contain CR, LF or NUL"):
        encode(bad, "data")
    with pytest.raises(ValueError, match="id must not contain CR, LF or NUL"):
        encode("output", "data", bad)


def test_encode_refuses_a_negative_retry() -> None:
    with pytest.raises(ValueError, match="retry must be 0 or more"):
        encode("output", "data", retry=-1)
