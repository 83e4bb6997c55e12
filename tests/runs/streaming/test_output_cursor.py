from __future__ import annotations

import msgspec
import pytest

from replicate_async import Prediction, StreamIncompleteError, StreamRestartedError
from replicate_async.core.sse import Event, Outputs
from replicate_async.runs.streaming.output_cursor import OutputCursor


def run(output: object, status: str = "processing", **more: object) -> Prediction:
    shown: dict[str, object] = {"id": "p", "status": status, "urls": {}, "output": output, **more}
    return msgspec.convert(shown, Prediction)


def after(cursor: OutputCursor, *parts: str, ids: bool = True) -> OutputCursor:
    cursor.add(
        [Event(event="output", data=part, id=f"{at}", has_id=ids) for at, part in enumerate(parts)]
    )
    return cursor


def rest(cursor: OutputCursor, prediction: Prediction) -> list[tuple[str, str]]:
    return [(event.event, event.data) for event in cursor.rest_of(prediction)]


def test_new_parts_stay_separate() -> None:
    cursor = after(OutputCursor(), "a", "b")
    assert rest(cursor, run(["a", "b", "c", "d"])) == [("output", "c"), ("output", "d")]


def test_parts_that_were_cut_elsewhere_continue_in_the_middle() -> None:
    cursor = after(OutputCursor(), "He", "llo")
    assert rest(cursor, run(["Hello", " you"])) == [("output", " you")]
    assert rest(cursor, run("Hello you")) == [("output", " you")]


def test_the_end_follows_the_rest() -> None:
    assert rest(after(OutputCursor(), "a"), run(["a", "b"], "succeeded")) == [
        ("output", "b"),
        ("done", "{}"),
    ]
    assert rest(OutputCursor(), run(None, "aborted")) == [("done", '{"reason": "canceled"}')]
    assert rest(OutputCursor(), run(None, "failed", error="no luck")) == [
        ("error", '{"detail":"no luck"}'),
        ("done", '{"reason": "error"}'),
    ]


def test_an_error_is_not_repeated() -> None:
    cursor = OutputCursor()
    cursor.add([Event(event="error", data="no luck", id="1", has_id=True)])
    assert rest(cursor, run(None, "failed")) == [("done", '{"reason": "error"}')]


def test_line_ends_are_compared_as_the_stream_writes_them() -> None:
    cursor = after(OutputCursor(streamed=True), "a\n", "b")
    assert rest(cursor, run(["a\r\n", "b", "c\r"])) == [("output", "c\n")]


def test_line_ends_of_polls_are_kept() -> None:
    cursor = after(OutputCursor(), "a\r")
    assert rest(cursor, run("a\r\nb")) == [("output", "\nb")]


def test_logs_are_continued() -> None:
    cursor = OutputCursor(streamed=True)
    cursor.add([Event(event="logs", data="1%\n2%\n", id="1", has_id=True)])
    assert rest(cursor, run(None, logs="1%\r\n2%\r3%\n")) == [("logs", "3%\n")]
    assert rest(cursor, run(None, logs="1%")) == []


def test_a_different_text_is_an_error() -> None:
    with pytest.raises(StreamRestartedError) as caught:
        after(OutputCursor(), "Hello").rest_of(run(["Goodbye"]))
    assert caught.value.text == "Hello"


def test_an_api_that_is_behind_the_stream_adds_nothing() -> None:
    cursor = after(OutputCursor(), "Hello", " you")
    assert rest(cursor, run(["Hello"])) == []
    assert rest(cursor, run(["Hello"], "canceled")) == [("done", '{"reason": "canceled"}')]
    with pytest.raises(StreamRestartedError):
        cursor.rest_of(run(["Hello"], "succeeded"))


def test_files_are_counted_not_compared() -> None:
    cursor = after(OutputCursor(files=True), "data:text/plain,a")
    assert cursor.text == ""
    assert rest(cursor, run(["https://x/a", "https://x/b"])) == [("output", "https://x/b")]


def test_removed_output_is_an_error() -> None:
    gone = run(None, "succeeded", data_removed=True)
    with pytest.raises(StreamIncompleteError) as caught:
        after(OutputCursor(), "Hel").rest_of(gone)
    assert caught.value.text == "Hel"


def test_a_resumed_reader_of_unknown_position_gets_no_repeated_output() -> None:
    with pytest.raises(StreamIncompleteError):
        OutputCursor(resumed=True).rest_of(run(["Hello"], "succeeded", logs="log"))
    assert rest(OutputCursor(resumed=True), run(["Hello"], "failed", logs="log")) == [
        ("error", '{"detail":"the run failed"}'),
        ("done", '{"reason": "error"}'),
    ]


def test_a_resumed_reader_of_known_position_gets_the_rest() -> None:
    done = run(["Hel", "lo", " you\r\n", "!"], "succeeded", logs="log")

    later = after(OutputCursor(streamed=True, resumed=True, received=4), "o")
    assert rest(later, done) == [("output", " you\n"), ("output", "!"), ("done", "{}")]
    at_the_end = OutputCursor(streamed=True, resumed=True, received=11)
    assert rest(at_the_end, done) == [("done", "{}")]
    behind = after(OutputCursor(streamed=True, resumed=True, received=4), "o")
    assert rest(behind, run(["Hel"])) == []


def test_a_position_beyond_the_output_is_an_error() -> None:
    with pytest.raises(StreamRestartedError):
        OutputCursor(resumed=True, received=6).rest_of(run(["Hello"], "succeeded"))
    with pytest.raises(StreamRestartedError):
        after(OutputCursor(resumed=True, received=3), "x").rest_of(run(["Hello"], "succeeded"))


def test_an_object_is_given_when_the_run_has_ended() -> None:
    assert rest(OutputCursor(), run({"a": 1})) == []
    assert rest(OutputCursor(), run({"a": 1}, "succeeded"))[0] == ("output", '{"a":1}')
    assert rest(OutputCursor(), run([1, "b"])) == [("output", "1"), ("output", "b")]


def test_ids_are_used_only_when_every_event_has_its_own() -> None:
    assert after(OutputCursor(), "a", "b").seen_ids() == {hash("0"), hash("1")}
    assert after(OutputCursor(), "a", ids=False).seen_ids() is None
    twice = after(after(OutputCursor(), "a"), "b")
    assert twice.seen_ids() is None
    unnamed = OutputCursor()
    unnamed.add([Event(event="output", data="a", id="", has_id=True)])
    assert unnamed.seen_ids() is None
    strange = OutputCursor()
    strange.add([Event(event="message", data="a")])
    assert strange.seen_ids() == set()


def test_a_long_text_of_many_parts_is_exact() -> None:
    cursor = OutputCursor()
    words = [f"{at} " for at in range(3000)]
    for at, word in enumerate(words):
        cursor.add([Event(event="output", data=word, id=f"{at}", has_id=True)])
    assert cursor.text == "".join(words)
    assert rest(cursor, run([*words, "end"])) == [("output", "end")]


@pytest.mark.parametrize("at_once", [1, 7, 31, 32, 300])
def test_batches_count_like_single_events(at_once: int) -> None:
    words = [f"word {at}" for at in range(600)]
    cursor = OutputCursor(streamed=True)
    logs = Event(event="logs", data="seen", id="logs", has_id=True)
    for at in range(0, 600, at_once):
        ids = [str(number) for number in range(at, min(600, at + at_once))]
        cursor.add(Outputs(ids, words[at : at + at_once], [logs] if at == 0 else None))
        cursor.add([Event(event="error", data="no luck")] if at == 300 else [])
    assert cursor.text == "".join(words)
    ended = run([*words, "last"], "succeeded", logs="seen and more")
    assert rest(cursor, ended) == [("logs", " and more"), ("output", "last"), ("done", "{}")]
    ids_seen = {hash(str(number)) for number in range(600)} | {hash("logs")}
    assert cursor.seen_ids() == (None if 300 % at_once == 0 else ids_seen)
