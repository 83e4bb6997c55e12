"""Typed events, made of the events of the wire."""

from __future__ import annotations

import pytest

from replicate_async import OutputEvent, StreamEvent, UnknownEvent
from replicate_async.core.sse import Parser
from replicate_async.runs.streaming.events import typed


def received(name: str, data: str = "a") -> StreamEvent:
    (event,) = Parser().feed(f"event: {name}\nid: 1\ndata: {data}\n\n".encode())
    return typed(event)


@pytest.mark.parametrize("name", ["output", "logs", "error", "done"])
def test_a_typed_event_has_the_name_of_the_event_of_the_wire(name: str) -> None:
    assert received(name).event == name


@pytest.mark.parametrize("name", ["metric", "unknown"])
def test_an_event_of_a_later_version_of_the_api_keeps_its_name_and_data(name: str) -> None:
    event = received(name, "9")

    assert event == UnknownEvent(name, "9", "1")
    assert event.event == "unknown"


def test_the_name_of_an_event_is_no_argument() -> None:
    assert OutputEvent("a", "1") == received("output")
    assert repr(OutputEvent("a")) == "OutputEvent(data='a', id='')"
