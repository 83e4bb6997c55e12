from __future__ import annotations

import itertools
from random import Random

import httpx
import msgspec
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.sse import Event, Outputs, Parser, encode
from tests.support.chunks import cut, run, single

FRAGMENTS = (
    [b"data", b"event", b"id", b"retry", b"x", b":", b": ", b" ", b"\0", b"7", b"tok"],
    [b"data: a", b"id: 1", b"event: output", b"event: output\nid: 1:0\ndata: tok\n\n"],
    [b"event: output\nid: ", b"\ndata: ", b"event: output\nid: 2\ndata: a\ndata: b\n\n"],
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


PIECES = [b"event: output\nid: ", b"\ndata: ", b"\n\n", b"\n", b"7", b"", b"\0", b"\r", b": c"]
BLOCKS = [b"event: output\nid: 1\ndata: a\n\n", b"event: output\nid: 2\ndata: \ndata: \n\n"]


@given(
    data=st.lists(st.sampled_from(PIECES + BLOCKS * 6), max_size=20).map(b"".join),
    random=st.randoms(use_true_random=False),
)
def test_what_is_almost_a_run_of_outputs_means_what_the_specification_says(
    data: bytes, random: Random
) -> None:
    expected = read_literally(data)
    cuts = random.sample(range(len(data) + 1), min(len(data), 2))
    for chunks in ([data], single(data), cut(data, cuts)):
        parser = Parser()
        assert run([b"\n", *chunks], parser) == expected[0]
        assert parser.last_event_id == expected[1]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b"event: output\nid: \ndata: a\n\n", id="an empty id"),
        pytest.param(b"event: output\nid: 1\0\ndata: a\n\n", id="an id with a NUL"),
        pytest.param(b"event: output\nid: 1\ndata: a\rdata: b\n\n", id="a CR"),
        pytest.param(b"event: output\nid: 1\ndata\n\n", id="a data line without a colon"),
        pytest.param(b"event: output\nid: 1\nid: 2\ndata: a\n\n", id="two ids"),
        pytest.param(b"event: output\nid: 1\n\n", id="no data"),
        pytest.param(b"event: output\nid: 1\n\ndata: a\n\n", id="a blank line within"),
        pytest.param(b"event: output\nid: 1\ndata: a\n\n\n\n", id="blank lines after"),
        pytest.param(b"event: output\nid: 1\ndata: a\nretry: 9\n\n", id="a retry"),
        pytest.param(b"event: output\nid: 1\ndata: \xff\n\n", id="bytes that are no text"),
    ],
)
@pytest.mark.parametrize("lines", [1, 2])
def test_an_odd_output_among_usual_ones_is_read_by_the_rules(odd: bytes, lines: int) -> None:
    usual = b"event: output\nid: 3\n" + b"data: b\n" * lines + b"\n"
    for data in (odd, odd + usual, usual + odd, usual + odd + usual):
        parser = Parser()
        assert run([b"\n"], parser) == []
        taken = parser.take(data)
        assert not isinstance(taken, Outputs) or all(taken.ids)
        parser = Parser()
        expected, last_id, retry = read_literally(data)
        assert run([b"\n", data], parser) == expected
        assert (parser.last_event_id, parser.retry) == (last_id, retry)


def test_outputs_are_taken_together_and_what_follows_them_apart() -> None:
    outputs = [
        encode("output", text, id) for id, text in zip("012", ["a", "b\n", "c"], strict=True)
    ]
    done = encode("done", "{}", "3")
    parser = Parser()
    assert parser.feed(b": hi\n\n") == []
    taken = parser.take(b"".join([*outputs, done]))
    assert isinstance(taken, Outputs)
    assert (taken.ids, taken.parts) == (("0", "1", "2"), ("a", "b\n", "c"))
    assert taken.then == [Event(event="done", data="{}", id="3", has_id=True)]
    alone = parser.take(outputs[0])
    assert alone == Outputs(("0",), ("a",))
    # The beginning of an event waits for its end, and comes with what follows.
    assert parser.take(outputs[0] + outputs[1][:-1]) == alone
    assert parser.take(b"\n" + outputs[2][:5]) == Outputs(("1",), ("b\n",))
    assert parser.take(outputs[2][5:]) == Outputs(("2",), ("c",))


@pytest.mark.parametrize("greeting", [b"", b": hi\n\n", b": hi\r\n\n"])
def test_the_first_chunk_may_be_outputs_after_a_greeting(greeting: bytes) -> None:
    parser = Parser()
    assert parser.take(greeting + encode("output", "a", "1")) == Outputs(("1",), ("a",))
    assert parser.last_comment == (" hi" if greeting else None)


def test_what_is_more_than_a_greeting_is_read_whole() -> None:
    data = encode("output", "a", "1")
    for greeting in (b": hi\ndata: b\n\n", b": hi\rdata: b\n\n", b": hi\r\rid: 3\n\n"):
        assert run([greeting + data]) == read_literally(greeting + data)[0]


def test_a_comment_and_a_retry_count_before_the_event_they_are_in_has_ended() -> None:
    parser = Parser()
    whole = encode("output", "a", "1")
    parser.feed(b"\n")
    assert len(parser.feed(whole + b"event: output\n: hello\n")) == 1
    assert parser.last_comment == " hello"
    parser.feed(b"\n")
    assert len(parser.feed(whole + b"event: output\nretry: 70\n")) == 1
    assert parser.retry == 70


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
