"""The shared vectors of server-sent events, over a socket and through the client."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from replicate_async import RedirectError, Replicate, StreamError, StreamResponseError
from replicate_async.core.sse import encode
from tests.runs.service import Run, Service, cut_at, text_of
from tests.support.fault_server import Stranger
from tests.support.replies import stream_answer
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Ending

pytestmark = pytest.mark.anyio

VECTORS: Final[dict[str, Any]] = msgspec.json.decode(
    (Path(__file__).parent.parent / "data" / "sse.json").read_bytes()
)
CASES: Final[list[dict[str, Any]]] = [each for each in VECTORS["vectors"] if "input_base64" in each]
HTTP: Final[list[dict[str, Any]]] = [each for each in VECTORS["http_cases"] if "status" in each]
CONNECTIONS: Final[list[dict[str, Any]]] = VECTORS["connection_cases"]

Row = tuple[str, str, str]


async def raw_events(client: Replicate, count: int, id: str = "p") -> list[Row]:
    """Read *count* events, and no further."""
    rows: list[Row] = []
    async with client.predictions.stream(id) as stream:
        events = stream.raw()
        while len(rows) < count:
            event = await anext(events)
            rows.append((event.event, event.data, event.id))
    return rows


def always(answer: Answer) -> Callable[[int, str], Answer]:
    return lambda _connection, _last: answer


def expected(rows: Sequence[dict[str, Any]]) -> list[Row]:
    return [(row["event"], row["data"], row["id"]) for row in rows]


@pytest.mark.parametrize("step", [None, 1])
async def test_every_vector_arrives_over_a_socket(step: int | None) -> None:
    runs: dict[str, Run] = {}
    for at, vector in enumerate(CASES):
        answer = replace(
            stream_answer(base64.b64decode(vector["input_base64"])),
            headers=(("Content-Type", vector["content_type"]),),
            ending=Ending.HANG,
            step=step,
        )
        runs[f"v{at}"] = Run(answers=always(answer))
    service = Service(**runs)
    async with service.server, service.client() as client:
        for at, vector in enumerate(CASES):
            rows = expected(vector["expected"])
            assert await raw_events(client, len(rows), f"v{at}") == rows, vector["name"]
    # One connection each, but for those vectors that bring no event at all.
    assert {len(run.resumed_after) for run in runs.values()} == {0, 1}


async def test_events_of_megabytes_arrive_over_a_socket() -> None:
    recipes = [each for each in VECTORS["vectors"] if "input_recipe" in each]
    for vector in recipes:
        recipe, (outcome,) = vector["input_recipe"], vector["expected_recipe"]
        data = recipe["prefix"] + recipe["repeat"] * recipe["count"] + recipe["suffix"]
        service = Service(Run(answers=always(stream_answer(data.encode()))))
        async with service.server, service.client() as client:
            ((name, text, id),) = await raw_events(client, 1)
        assert (name, id, len(text)) == (outcome["event"], outcome["id"], outcome["count"])
        assert text == outcome["data_repeat"] * outcome["count"]


@pytest.mark.parametrize("case", CONNECTIONS, ids=lambda case: case["name"])
@pytest.mark.virtual_clock
async def test_every_connection_case_resumes_as_it_should(case: dict[str, Any]) -> None:
    steps: list[dict[str, Any]] = case["connections"]
    sent: list[bytes | None] = []

    def answer(connection: int, _last: str) -> Answer:
        step: dict[str, Any] = steps[connection] if connection < len(steps) else {"status": 204}
        sent.append(last_event_id(service))
        body = base64.b64decode(step.get("response_base64", ""))
        if "status" in step:
            return Answer(status=step["status"])
        return cut_at(
            body, len(body), Ending.RESET if step.get("then") == "break" else Ending.CLOSE
        )

    service = Service(Run(answers=answer))
    rows: list[Row] = []
    async with service.server, service.client() as client:
        with pytest.raises(StreamResponseError) as caught:
            await read_all(client, rows)
    assert caught.value.status == 204
    assert rows == [row for step in steps for row in expected(step["events"])]
    assert sent[: len(steps)] == [asked_for(step) for step in steps]
    assert len(sent) == len(steps) + (steps[-1].get("status") is None)


async def read_all(client: Replicate, rows: list[Row]) -> None:
    async with client.predictions.stream("p") as stream:
        async for event in stream.raw():
            rows.append((event.event, event.data, event.id))  # noqa: PERF401 - it ends in an error


def last_event_id(service: Service) -> bytes | None:
    lines = service.server.requests[-1].head.split(b"\r\n")
    named = [line for line in lines if line.lower().startswith(b"last-event-id:")]
    return named[0].partition(b":")[2].strip() if named else None


def asked_for(step: dict[str, Any]) -> bytes | None:
    if "request_last_event_id_base64" in step:
        return base64.b64decode(step["request_last_event_id_base64"])
    asked: str | None = step["request_last_event_id"]
    return None if asked is None else asked.encode()


@pytest.mark.parametrize("case", HTTP, ids=lambda case: case["name"])
async def test_every_http_case_ends_as_it_should(case: dict[str, Any]) -> None:
    if case["status"] in {301, 302, 303, 307}:
        await redirected(case)
        return
    answer = Answer(
        status=case["status"],
        headers=(("Content-Type", case["content_type"]),),
        body=base64.b64decode(case["body_base64"]),
    )
    run = Run(answers=always(answer))
    service = Service(run)
    async with service.server, service.client() as client:
        if case["expect"] == "open":
            assert await raw_events(client, 1) == [("message", "data", "")]
        else:
            rows: list[Row] = []
            with pytest.raises(StreamResponseError) as caught:
                await read_all(client, rows)
            assert rows == []
            assert caught.value.status == case["status"]
    assert len(run.resumed_after) == 1


async def redirected(case: dict[str, Any]) -> None:
    async with Stranger(stream_answer(encode("message", "data", id="1"))) as stranger:
        where = {"empty": (("Location", ""),), "missing": ()}
        kind = case["name"].split("-")[-2]
        led = where.get(kind, (("Location", f"{stranger.origin}/stream"),))
        run = Run(answers=always(Answer(status=case["status"], headers=led)))
        service = Service(run)
        async with service.server, service.client() as client:
            if kind in where:
                with pytest.raises(RedirectError):
                    await raw_events(client, 1)
                stranger.assert_untouched()
            else:
                assert await raw_events(client, 1) == [("message", "data", "1")]
                stranger.assert_never_saw([TOKEN])
        assert len(run.resumed_after) == 1


async def test_requests_accept_an_event_stream_that_is_not_cached() -> None:
    run = Run([encode("output", "a", id="1"), encode("done", "{}", id="2")])
    service = Service(run)
    async with service.server, service.client() as client:
        await text_of(client)
        asked = next(each for each in service.server.requests if "/streams/" in each.path)
    assert asked.header("accept") == "text/event-stream"
    assert asked.header("cache-control") in {"no-cache", "no-store"}


class Trouble(msgspec.Struct, frozen=True):
    """What happens to one connection."""

    at: float
    """The place of the cut in the rest of the stream, from 0 to 1."""
    reset: bool
    back: int
    """How many events the next connection repeats; above the most there are: all."""
    step: int | None


WORD: Final = st.text(
    st.characters(codec="utf-8", exclude_characters="\r"), max_size=12
) | st.sampled_from([" the", "\n", "", "data: x", ": comment", "\n\n", " ", "é✨"])
EVENT: Final = st.tuples(st.sampled_from(["output", "output", "output", "logs", "other"]), WORD)
TROUBLE: Final[SearchStrategy[Trouble]] = st.builds(
    Trouble,
    at=st.floats(0, 1),
    reset=st.booleans(),
    back=st.sampled_from([0, 0, 1, 2, 10_000]),
    step=st.sampled_from([None, None, 1, 7]),
)


def troubled(run: Run, troubles: list[Trouble]) -> Callable[[int, str], Answer]:
    def answer(connection: int, last: str) -> Answer:
        marks = [f"id: {last}\n".encode() in event for event in run.events]
        at = marks.index(True) if any(marks) else -1
        if connection and troubles:
            at = max(-1, at - troubles[min(connection, len(troubles)) - 1].back)
        body = b"retry: 1\n\n" + b"".join(run.events[at + 1 :])
        if connection >= len(troubles):
            return replace(stream_answer(body), ending=Ending.HANG)
        trouble = troubles[connection]
        ending = Ending.RESET if trouble.reset else Ending.CLOSE
        return replace(cut_at(body, int(trouble.at * len(body)), ending), step=trouble.step)

    return answer


@given(
    events=st.lists(EVENT, max_size=12),
    troubles=st.lists(TROUBLE, max_size=3),
    marked=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_any_stream_over_broken_connections_equals_its_events(
    events: list[tuple[str, str]], troubles: list[Trouble], marked: bool
) -> None:
    wire = [
        encode(name, data, id=f"7:{at}" if marked else None)
        for at, (name, data) in enumerate([*events, ("done", "{}")])
    ]
    words = [data for name, data in events if name == "output"]
    run = Run(
        wire,
        output=words,
        logs="".join(data for name, data in events if name == "logs"),
        status="succeeded",
    )
    run.answers = troubled(run, troubles)
    service = Service(run)
    async with service.server, service.client() as client:
        shown = await client.predictions.get("p")
        running = msgspec.structs.replace(shown, status="processing", completed_at=None)
        async with client.predictions.stream(running) as stream:
            read = [event async for event in stream]
    assert "".join(map(str, read)) == "".join(words)
    if marked and not any(run.polls > 1 for run in service.runs.values()):
        names = {"OutputEvent": "output", "LogsEvent": "logs", "UnknownEvent": "other"}
        assert [
            (names[type(event).__name__], getattr(event, "data", "")) for event in read[:-1]
        ] == events


async def test_a_stream_error_has_the_received_text() -> None:
    run = Run([encode("output", "a", id="1")])
    run.answers = lambda connection, last: (
        Answer(status=404, body=b'{"detail": "gone"}')
        if connection
        else cut_at(run.rest(last), 10_000, Ending.CLOSE)
    )
    service = Service(run)
    async with service.server, service.client() as client:
        with pytest.raises(StreamError, match="gone") as caught:
            await text_of(client)
    assert caught.value.text == "a"
