from __future__ import annotations

import base64
import itertools
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_async.core.sse import Event, Parser
from tests.support.chunks import run, single

VECTORS: dict[str, Any] = msgspec.json.decode(
    (Path(__file__).parent.parent / "data" / "sse.json").read_bytes()
)
SMALL = [vector for vector in VECTORS["vectors"] if "input_base64" in vector]
LARGE = [vector for vector in VECTORS["vectors"] if "input_recipe" in vector]
NAMES = [vector["name"] for vector in SMALL]
MEBIBYTE = 1024 * 1024


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


def test_a_carriage_return_takes_no_line_feed_of_the_next_connection() -> None:
    parser = Parser()
    assert parser.feed(b"data: a\r\r") == [Event(data="a")]
    parser.close()
    parser.feed(b"\ndata: b\n")
    assert parser.feed(b"\n") == [Event(data="b")]


def test_a_resumed_stream_begins_with_the_id_it_resumed_from() -> None:
    parser = Parser(last_event_id="7")
    assert parser.last_event_id == "7"
    assert parser.feed(b"data: a\n\n") == [Event(data="a", id="7")]


def test_the_timeout_comment_of_an_idle_stream_is_kept_until_the_next() -> None:
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
