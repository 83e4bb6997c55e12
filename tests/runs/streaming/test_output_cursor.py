from __future__ import annotations

import msgspec
import pytest

from replicate_async import Prediction, StreamIncompleteError, StreamRestartedError
from replicate_async.core.sse import Event, Outputs
from replicate_async.runs.streaming.output_cursor import OutputCursor


def run(output: object, status: str = "processing", **more: object) -> Prediction:
    shown: dict[str, object] = {"id": "p", "status": status, "urls": {}, "output": output, **more}
    return msgspec.convert(shown, Prediction)


def had(delivered: OutputCursor, *parts: str, ids: bool = True) -> OutputCursor:
    delivered.add(
        [Event(event="output", data=part, id=f"{at}", has_id=ids) for at, part in enumerate(parts)]
    )
    return delivered


def left(delivered: OutputCursor, prediction: Prediction) -> list[tuple[str, str]]:
    return [(event.event, event.data) for event in delivered.rest_of(prediction)]


def test_parts_beyond_those_that_were_had_stay_parts() -> None:
    delivered = had(OutputCursor(), "a", "b")
    assert left(delivered, run(["a", "b", "c", "d"])) == [("output", "c"), ("output", "d")]


def test_parts_that_were_cut_elsewhere_go_on_in_the_middle() -> None:
    delivered = had(OutputCursor(), "He", "llo")
    assert left(delivered, run(["Hello", " you"])) == [("output", " you")]
    assert left(delivered, run("Hello you")) == [("output", " you")]


def test_the_end_comes_after_the_rest() -> None:
    assert left(had(OutputCursor(), "a"), run(["a", "b"], "succeeded")) == [
        ("output", "b"),
        ("done", "{}"),
    ]
    assert left(OutputCursor(), run(None, "aborted")) == [("done", '{"reason": "canceled"}')]
    assert left(OutputCursor(), run(None, "failed", error="no luck")) == [
        ("error", '{"detail":"no luck"}'),
        ("done", '{"reason": "error"}'),
    ]


def test_an_error_that_was_had_does_not_come_again() -> None:
    delivered = OutputCursor()
    delivered.add([Event(event="error", data="no luck", id="1", has_id=True)])
    assert left(delivered, run(None, "failed")) == [("done", '{"reason": "error"}')]


def test_line_ends_count_as_the_stream_writes_them() -> None:
    delivered = had(OutputCursor(streamed=True), "a\n", "b")
    assert left(delivered, run(["a\r\n", "b", "c\r"])) == [("output", "c\n")]


def test_line_ends_of_polls_are_kept() -> None:
    delivered = had(OutputCursor(), "a\r")
    assert left(delivered, run("a\r\nb")) == [("output", "\nb")]


def test_logs_are_continued() -> None:
    delivered = OutputCursor(streamed=True)
    delivered.add([Event(event="logs", data="1%\n2%\n", id="1", has_id=True)])
    assert left(delivered, run(None, logs="1%\r\n2%\r3%\n")) == [("logs", "3%\n")]
    assert left(delivered, run(None, logs="1%")) == []


def test_another_text_is_not_taken_for_a_continuation() -> None:
    with pytest.raises(StreamRestartedError) as caught:
        had(OutputCursor(), "Hello").rest_of(run(["Goodbye"]))
    assert caught.value.text == "Hello"


def test_an_api_that_knows_less_than_the_stream_brings_nothing() -> None:
    delivered = had(OutputCursor(), "Hello", " you")
    assert left(delivered, run(["Hello"])) == []
    assert left(delivered, run(["Hello"], "canceled")) == [("done", '{"reason": "canceled"}')]
    with pytest.raises(StreamRestartedError):
        delivered.rest_of(run(["Hello"], "succeeded"))


def test_files_are_told_apart_by_their_number() -> None:
    delivered = had(OutputCursor(files=True), "data:text/plain,a")
    assert delivered.text == ""
    assert left(delivered, run(["https://x/a", "https://x/b"])) == [("output", "https://x/b")]


def test_output_that_is_gone_is_not_a_success() -> None:
    gone = run(None, "succeeded", data_removed=True)
    with pytest.raises(StreamIncompleteError) as caught:
        had(OutputCursor(), "Hel").rest_of(gone)
    assert caught.value.text == "Hel"


def test_a_reader_who_came_later_is_not_given_what_it_may_have_had() -> None:
    with pytest.raises(StreamIncompleteError):
        OutputCursor(resumed=True).rest_of(run(["Hello"], "succeeded", logs="log"))
    assert left(OutputCursor(resumed=True), run(["Hello"], "failed", logs="log")) == [
        ("error", '{"detail":"the run failed"}'),
        ("done", '{"reason": "error"}'),
    ]


def test_a_reader_who_knows_how_much_it_had_is_given_the_rest() -> None:
    done = run(["Hel", "lo", " you\r\n", "!"], "succeeded", logs="log")

    later = had(OutputCursor(streamed=True, resumed=True, received=4), "o")
    assert left(later, done) == [("output", " you\n"), ("output", "!"), ("done", "{}")]
    at_the_end = OutputCursor(streamed=True, resumed=True, received=11)
    assert left(at_the_end, done) == [("done", "{}")]
    behind = had(OutputCursor(streamed=True, resumed=True, received=4), "o")
    assert left(behind, run(["Hel"])) == []


def test_a_reader_who_had_more_than_there_is_had_something_else() -> None:
    with pytest.raises(StreamRestartedError):
        OutputCursor(resumed=True, received=6).rest_of(run(["Hello"], "succeeded"))
    with pytest.raises(StreamRestartedError):
        had(OutputCursor(resumed=True, received=3), "x").rest_of(run(["Hello"], "succeeded"))


def test_an_object_is_handed_on_when_it_is_complete() -> None:
    assert left(OutputCursor(), run({"a": 1})) == []
    assert left(OutputCursor(), run({"a": 1}, "succeeded"))[0] == ("output", '{"a":1}')
    assert left(OutputCursor(), run([1, "b"])) == [("output", "1"), ("output", "b")]


def test_marks_are_trusted_when_every_part_has_its_own() -> None:
    assert had(OutputCursor(), "a", "b").marks() == {hash("0"), hash("1")}
    assert had(OutputCursor(), "a", ids=False).marks() is None
    twice = had(had(OutputCursor(), "a"), "b")
    assert twice.marks() is None
    unnamed = OutputCursor()
    unnamed.add([Event(event="output", data="a", id="", has_id=True)])
    assert unnamed.marks() is None
    strange = OutputCursor()
    strange.add([Event(event="message", data="a")])
    assert strange.marks() == set()


def test_a_long_text_is_kept_whole() -> None:
    delivered = OutputCursor()
    words = [f"{at} " for at in range(3000)]
    for at, word in enumerate(words):
        delivered.add([Event(event="output", data=word, id=f"{at}", has_id=True)])
    assert delivered.text == "".join(words)
    assert left(delivered, run([*words, "end"])) == [("output", "end")]


@pytest.mark.parametrize("at_once", [1, 7, 31, 32, 300])
def test_outputs_that_came_together_count_as_those_that_came_alone(at_once: int) -> None:
    words = [f"word {at}" for at in range(600)]
    delivered = OutputCursor(streamed=True)
    logs = Event(event="logs", data="seen", id="logs", has_id=True)
    for at in range(0, 600, at_once):
        ids = [str(number) for number in range(at, min(600, at + at_once))]
        delivered.add(Outputs(ids, words[at : at + at_once], [logs] if at == 0 else None))
        delivered.add([Event(event="error", data="no luck")] if at == 300 else [])
    assert delivered.text == "".join(words)
    ended = run([*words, "last"], "succeeded", logs="seen and more")
    assert left(delivered, ended) == [("logs", " and more"), ("output", "last"), ("done", "{}")]
    marks = {hash(str(number)) for number in range(600)} | {hash("logs")}
    assert delivered.marks() == (None if 300 % at_once == 0 else marks)
