"""A stream keeps ids and the end of the text, not the whole text."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Final, Self

import pytest

from replicate_async import Prediction, StreamError, StreamIncompleteError, StreamRestartedError
from replicate_async.core.sse import Event, Outputs, encode
from replicate_async.runs.streaming.output_cursor import OutputCursor
from tests.runs.service import QUICK, Run, Service, cut_at
from tests.runs.streaming.test_output_cursor import rest, run
from tests.support.replies import stream_answer
from tests.support.wire import Answer, Ending

MiB: Final = 1024 * 1024
KEPT: Final = 256 * 1024
WORDS: Final = [f"{at:07},\n ✨ " for at in range(120_000)]
TEXT: Final = "".join(WORDS)


class Peak:
    """The peak of the memory, less the memory before."""

    def __enter__(self) -> Self:
        tracemalloc.start()
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = tracemalloc.get_traced_memory()[1] - self._before
        tracemalloc.stop()


def streamed(*parts: str, files: bool = False, size: int = 500) -> OutputCursor:
    cursor = OutputCursor(streamed=True, files=files)
    for at in range(0, len(parts), size):
        some = parts[at : at + size]
        cursor.add(Outputs([f"7:{at + number}" for number in range(len(some))], some))
    return cursor


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("size", "count", "most"),
    [
        pytest.param(400, 30_000, 6 * MiB, marks=pytest.mark.slow),
        (64 * 1024, 700, 8 * MiB),
        pytest.param(3 * MiB, 20, 32 * MiB, marks=pytest.mark.slow),
    ],
)
async def test_a_flood_is_not_kept(size: int, count: int, most: int) -> None:

    def flood() -> Iterator[bytes]:
        for at in range(count):
            yield encode("output", "x" * size, id=f"{at}:0")
        yield encode("done", "{}", id="end")

    head = stream_answer(b"").head().replace(b"Content-Length: 0\r\n", b"")
    service = Service(Run(answers=lambda _connection, _last: Answer(raw=head, source=flood)))
    came = 0
    async with service.server, service.client() as client:
        with Peak() as peak:
            async with client.predictions.stream("p") as stream:
                async for text in stream.text():
                    came += len(text)
    assert came == count * size
    # An event of the largest size is in several buffers at a time.
    assert peak.bytes < most < came


@pytest.mark.anyio
@pytest.mark.parametrize("event", ["output", "logs", "ping"])
async def test_large_ids_are_not_kept(event: str) -> None:
    size, count = 256 * 1024, 100

    def flood() -> Iterator[bytes]:
        for at in range(count):
            yield encode(event, "x", id=f"{at}:{'x' * size}")
        yield encode("done", "{}", id="end")

    head = stream_answer(b"").head().replace(b"Content-Length: 0\r\n", b"")
    service = Service(Run(answers=lambda _connection, _last: Answer(raw=head, source=flood)))
    came = 0
    async with service.server, service.client() as client:
        with Peak() as peak:
            async with client.predictions.stream("p") as stream:
                async for _ in stream:
                    came += 1
    assert came == count + 1
    assert peak.bytes < 8 * MiB < size * count


def test_ids_are_not_kept_without_bound() -> None:
    cursor = OutputCursor(streamed=True)
    with Peak() as peak:
        for batch in range(200):
            ids = [f"1690212292:{batch * 1000 + at}" for at in range(1000)]
            cursor.add(Outputs(ids, ["x"] * 1000))
    assert peak.bytes < 3 * MiB
    assert cursor.seen_ids() is None


def test_a_stream_of_many_events_is_resumed_by_their_ids() -> None:
    cursor = streamed(*WORDS)
    assert cursor.seen_ids() == {hash(f"7:{at}") for at in range(len(WORDS))}


@pytest.mark.parametrize("size", [1, 31, 500, 120_000])
def test_the_rest_of_a_long_text_is_exact(size: int) -> None:
    cursor = streamed(*WORDS[:100_000], size=size)
    found = rest(cursor, run(WORDS))
    assert found == [("output", word) for word in WORDS[100_000:]]
    cut = len("".join(WORDS[:100_000]))
    assert rest(cursor, run(TEXT)) == [("output", TEXT[cut:])]
    assert rest(cursor, run(TEXT[:cut])) in ([], [("output", "")])
    assert rest(cursor, run(TEXT[:cut].replace("\n", "\r\n"))) in ([], [("output", "")])


@pytest.mark.parametrize("at", [0, 500_000, -KEPT - 1, -KEPT, -1])
@pytest.mark.parametrize("kind", ["altered", "dropped", "added"])
def test_a_long_text_that_differs_in_one_character_is_restarted(at: int, kind: str) -> None:
    cursor = streamed(*WORDS)
    place = at % len(TEXT)
    beyond = place + (kind != "added")
    other = TEXT[:place] + ("" if kind == "dropped" else "~") + TEXT[beyond:] + "~ more"
    with pytest.raises(StreamRestartedError) as caught:
        cursor.rest_of(run(other, "succeeded"))
    assert_told(caught.value, TEXT)


def test_an_api_with_less_than_a_long_text_adds_nothing() -> None:
    cursor = streamed(*WORDS)
    for known in (10, 100_000, -KEPT, -5):
        assert rest(cursor, run(TEXT[:known])) == []
        assert rest(cursor, run(TEXT[:known], "canceled"))[0][0] == "done"
        with pytest.raises(StreamRestartedError):
            cursor.rest_of(run(TEXT[:known], "succeeded"))
    with pytest.raises(StreamRestartedError):
        cursor.rest_of(run(TEXT[:-5] + "~"))


def test_lone_surrogates_of_a_long_text_are_compared_too() -> None:
    cursor = OutputCursor()
    word = "\ud800" * 1000
    for at in range(1000):
        cursor.add([Event(event="output", data=word, id=f"{at}", has_id=True)])
    shown = Prediction(id="p", status="processing", output=word * 1000 + "end", urls=run("").urls)
    assert rest(cursor, shown) == [("output", "end")]


def test_an_error_has_the_number_of_received_characters() -> None:
    gone = run(None, "succeeded", data_removed=True)
    with pytest.raises(StreamIncompleteError) as caught:
        streamed(*WORDS).rest_of(gone)
    assert_told(caught.value, TEXT)
    with pytest.raises(StreamIncompleteError) as caught:
        streamed("Hel", "lo").rest_of(gone)
    assert (caught.value.text, caught.value.received) == ("Hello", 5)


def assert_told(error: StreamError, text: str) -> None:
    assert error.received == len(text)
    assert KEPT <= len(error.text) <= 3 * KEPT
    assert text.endswith(error.text)


@pytest.mark.anyio
@pytest.mark.parametrize("ids", [True, False])
async def test_a_long_text_is_exact_over_a_cut(ids: bool) -> None:
    words = ["".join(WORDS[at : at + 100]) for at in range(0, len(WORDS), 100)]
    events = [encode("output", w, id=f"7:{at}" if ids else None) for at, w in enumerate(words)]
    done = encode("done", "{}", id="8:0" if ids else None)
    made = Run([*events, done], output=words, status="succeeded")
    whole = made.rest("")
    made.answers = lambda connection, _last: (
        # It starts again, also with a Last-Event-ID.
        stream_answer(whole) if connection else cut_at(whole, len(whole) * 3 // 4, Ending.RESET)
    )
    service = Service(made)
    async with service.server, service.client() as client:
        found = await client.predictions.get("p")
        running = Prediction(id="p", status="processing", urls=found.urls)
        async with client.predictions.stream(running, poll=QUICK) as stream:
            assert "".join([text async for text in stream.text()]) == TEXT
    assert len(made.resumed_after) == 1 + ids
