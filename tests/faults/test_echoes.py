"""A server that echoes the token, in any place and form, does not get it into an error."""

from __future__ import annotations

import asyncio
import base64
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pytest

from replicate_async import FileOutput, Poll, Prediction, Replicate, ReplicateError
from replicate_async.context import context_of
from replicate_async.core.listing_plan import ListingPlan
from replicate_async.core.token import Token
from replicate_async.runs.waiting.run_api import RunApi
from replicate_async.runs.waiting.tracked_run import TrackedRun
from tests.faults.calls import ONCE, Call, first
from tests.runs.batch.api import MODEL, SOON, BatchAPI, Made, client_of
from tests.runs.states import LEISURE, Service, ended, signed
from tests.support.embedded import until
from tests.support.fault_server import FaultServer
from tests.support.replies import CREATED_AT, events, json_answer, page, prediction, stream_answer
from tests.support.sentinel import TOKEN, chain
from tests.support.waiting import HANG
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

LONG: Final = "r8_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789x"
TOKENS: Final = {
    "of Replicate": LONG,
    "of a gateway": "company-proxy.token/0123+456789~abcdef0123==",
    "a short one": "r8_t0k3n",
}


def every_character(token: str, form: str) -> str:
    return "".join(form.format(ord(character)) for character in token)


FORMS: Final[dict[str, Callable[[str], str]]] = {
    "as it is": lambda token: token,
    "with its scheme": lambda token: f"Bearer {token}",
    "in quotes": lambda token: f'"{token}"',
    "for a URL": lambda token: quote(token, safe=""),
    "each character for a URL": lambda token: every_character(token, "%{:02x}"),
    "escaped as in JSON": lambda token: every_character(token, "\\u{:04x}"),
    "escaped as in Python": lambda token: every_character(token, "\\x{:02x}"),
    "escaped as in HTML": lambda token: every_character(token, "&#{};"),
}
BASE64: Final[dict[str, Callable[[str], str]]] = {
    "in base64": lambda token: base64.b64encode(token.encode()).decode(),
    "as a password in base64": lambda token: base64.b64encode(f"u:{token}".encode()).decode(),
    "with its scheme in base64": lambda token: base64.urlsafe_b64encode(
        f"Bearer {token}".encode()
    ).decode(),
}

Place = Callable[[FaultServer, str], Answer]


def client_with(token: str, server: FaultServer) -> Replicate:
    return Replicate(token, base_url=server.url, retry=ONCE)


def redirected(to: str) -> Answer:
    return Answer(status=302, headers=(("Location", to),), acts=False)


def typed(content_type: str, body: bytes = b"?", status: int = 200) -> Answer:
    return Answer(status=status, headers=(("Content-Type", content_type),), body=body)


def problem_of(status: int, **members: object) -> Answer:
    return json_answer(members, status)


async def get(client: Replicate) -> object:
    return await client.predictions.get("abc")


async def listed(client: Replicate) -> object:
    return await first(client.predictions.list())


async def streamed(client: Replicate) -> object:
    async with client.predictions.stream("streamed") as following:
        return [event async for event in following]


async def upload(client: Replicate) -> object:
    return await FileOutput(f"{context_of(client).base.url}/files/abc").with_client(client).read()


async def output_file(client: Replicate) -> object:
    return await FileOutput(f"{context_of(client).base.origin}/out.png").with_client(client).read()


PLACES: Final[dict[str, tuple[Call, Place]]] = {
    "Location": (get, lambda _, said: redirected(f"https://elsewhere.example/?t={said}")),
    "Location, far behind": (
        get,
        lambda _, said: redirected(f"https://elsewhere.example/?{'x' * 30}={said}"),
    ),
    "Content-Type": (get, lambda _, said: typed(f"text/{said}")),
    "a body that is no JSON": (get, lambda _, said: typed("text/plain", said.encode())),
    "a body that is cut": (get, lambda _, said: typed("text/plain", b"x" * 180 + said.encode())),
    "a wrong value": (get, lambda _, said: json_answer({"id": "p", "status": {said: said}})),
    "a missing id": (get, lambda _, said: json_answer({"status": "starting", said: said})),
    "a problem's detail": (get, lambda _, said: problem_of(400, detail=f"{'x ' * 130}{said}")),
    "a problem's title": (get, lambda _, said: problem_of(401, title=said, detail="no")),
    "the name of a field": (get, lambda _, said: problem_of(422, detail={said: ["wrong"]})),
    "a field": (
        get,
        lambda _, said: problem_of(
            422, invalid_fields=[{"field": said, "type": said, "description": said}]
        ),
    ),
    "a page": (
        get,
        lambda _, said: typed("text/html", f"<html><title>{said}</title></html>".encode(), 502),
    ),
    "an error that is plain text": (get, lambda _, said: typed("text/plain", said.encode(), 503)),
    "Retry-After": (
        get,
        lambda _, said: Answer(status=429, headers=(("Retry-After", said),), body=b"{}"),
    ),
    "the reason": (
        get,
        lambda _, said: Answer(raw=f"HTTP/1.1 400 {said}\r\nContent-Length: 0\r\n\r\n".encode()),
    ),
    "a foreign next": (
        listed,
        lambda _, said: json_answer(page(next=f"https://elsewhere.example/?t={said}")),
    ),
    "next, again and again": (
        listed,
        lambda server, said: json_answer(
            page(next=f"{server.url}/predictions?cursor={quote(said, safe='%')}")
        ),
    ),
    "the body of a stream": (streamed, lambda _, said: typed("text/plain", said.encode(), 400)),
    "the type of a stream": (streamed, lambda _, said: typed(f"text/{said}")),
    "Location of a stream": (streamed, lambda _, said: redirected(f"http://evil.example/{said}")),
    "Location of an upload": (upload, lambda _, said: redirected(f"http://evil.example/{said}")),
    "Location of a file": (
        output_file,
        lambda _, said: redirected(f"http://evil.example/?{said}"),
    ),
    "the encoding of an upload": (
        upload,
        lambda _, said: Answer(headers=(("Content-Encoding", said),), body=b"x"),
    ),
}


async def run(client: Replicate) -> object:
    return await client.run("acme/echo", {})


async def wait(client: Replicate) -> object:
    return await client.predictions.wait("abc", timeout=0.01)


async def train(client: Replicate) -> object:
    return await client.trainings.wait("abc", timeout=0.01)


async def batch(client: Replicate) -> object:
    async with client.batch("acme/echo", [{}]) as results:
        async for result in results:
            assert result.error is not None
            raise result.error
    return None


def run_answer(server: FaultServer, **members: object) -> Answer:
    return json_answer({**prediction(server.url, status="processing"), **members})


def ended_run(status: str, member: str) -> Place:
    return lambda server, said: run_answer(server, **{"status": status, member: said})


def in_progress(server: FaultServer, status: str) -> Answer:
    return run_answer(server, id="abc", status=status)


RUN_PLACES: Final[Mapping[str, tuple[Call, Place]]] = {
    f"{member} of a {status} run, {call.__name__}": (call, ended_run(status, member))
    for call in (run, streamed, batch)
    for status in ("failed", "canceled")
    for member in ("error", "model")
} | {
    "status of a run": (wait, in_progress),
    "status of a training": (train, in_progress),
}


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("place", RUN_PLACES)
async def test_a_token_that_a_run_repeats_is_not_in_its_error(place: str, kind: str) -> None:
    act, answer = RUN_PLACES[place]
    token = TOKENS[kind]
    async with (
        FaultServer(lambda _request: answer(server, token)) as server,
        client_with(token, server) as client,
    ):
        with pytest.raises(ReplicateError) as caught:
            await act(client)
    assert_unspoken(caught.value, token, token)
    assert "[hidden]" in str(caught.value)


async def last_update(client: Replicate, id: str, member: str) -> Prediction:
    """Watch a run until its *member* is redacted or the run ends."""
    poll = Poll(first=0.01, starting=0.01, processing=0.01)
    async for update in client.predictions.watch(id, poll=poll):
        if update.done or "[hidden]" in str(getattr(update, member)):
            return update
    raise AssertionError("a watch ended without an end")


@pytest.mark.parametrize("member", ["error", "model", "status"])
async def test_a_token_in_a_run_of_a_page_is_covered(member: str) -> None:
    ids = [f"p{number}" for number in range(20)]
    pages = 0

    def handler(request: Request) -> Answer:
        """Show the token in pages only; the polls that no page answers end the other waits."""
        nonlocal pages
        name = request.path.rpartition("/")[2]
        if name != "predictions":
            status = "succeeded" if pages else "processing"
            return json_answer(prediction(server.url, id=name, status=status))
        pages += 1
        said = {"status": "failed", "completed_at": CREATED_AT, member: LONG}
        if member == "status":
            said = {"status": LONG}
        runs = [prediction(server.url, id=id, status="processing") | said for id in ids]
        return json_answer(page(*runs))

    async with FaultServer(handler) as server, client_with(LONG, server) as client:
        async with asyncio.timeout(HANG):
            updates = await asyncio.gather(*(last_update(client, id, member) for id in ids))
    assert "[hidden]" in {getattr(update, member) for update in updates}
    assert all(LONG not in str(getattr(update, member)) for update in updates)


async def test_a_token_in_the_listed_run_of_a_lost_create_is_covered(tmp_path: Path) -> None:
    def fail(made: Made) -> None:
        made.status = "failed"
        made.error = TOKEN

    api = BatchAPI(outcome=fail, lose=lambda number: number == 1)
    async with (
        api.server() as server,
        client_of(server.url) as client,
        client.batch(
            MODEL, [{"n": 1}], journal=tmp_path / "batch.db", batch_timeouts=SOON, retries=0
        ) as results,
    ):
        found = [result async for result in results]
    assert api.requests["list"] >= 1
    assert len(api.made) == 1
    (result,) = found
    assert result.error is not None
    assert "[hidden]" in str(result.error)
    assert_unspoken(result.error, TOKEN, TOKEN)


async def test_a_token_in_the_status_that_a_page_shows_is_covered() -> None:
    async def never(*_: object) -> Any:
        raise AssertionError

    api = RunApi("prediction", Prediction, never, never, windowed=True, redact=Token(LONG).redact)
    last = msgspec.convert(prediction("http://x", status="starting"), Prediction)
    plan = ListingPlan[TrackedRun](windowed=True, pages_per_second=1.0)
    tracked = TrackedRun("prediction/p", 0.0, api, "p", last, plan)
    tracked.status = LONG

    seen = tracked.last_seen()

    assert seen is not None
    status: str = seen.status
    assert status == "[hidden]"


@pytest.mark.parametrize("kind", ["prediction", "training"])
@pytest.mark.parametrize("member", ["error", "model", "status"])
async def test_a_token_in_a_webhook_is_covered(member: str, kind: str) -> None:
    body = ended(**{"status": "failed", member: TOKEN})
    service = Service({"status": "processing"})
    async with service.server, service.client() as client:
        waits = client.predictions.wait if kind == "prediction" else client.trainings.wait
        waiting = asyncio.ensure_future(waits("abc", poll=LEISURE))
        await until(lambda: service.asked("/abc"))
        # The webhook of a prediction also ends the wait for a training of that id.
        found = await client.predictions.handle_webhook(body, signed(body))
        async with asyncio.timeout(HANG):
            ended_run = await waiting
    assert getattr(found, member) == getattr(ended_run, member) == "[hidden]"
    assert TOKEN not in repr((found, ended_run))


async def test_a_token_in_the_error_of_a_stream_is_covered() -> None:
    asked = 0

    def handler(request: Request) -> Answer:
        nonlocal asked
        if "/streams/" in request.path:
            return stream_answer(
                events(("error", f'{{"detail": "no {LONG}"}}'), ("done", '{"reason": "error"}'))
            )
        asked += 1
        status = "processing" if asked == 1 else "failed"
        shown = prediction(server.url, status=status, stream=f"{server.url}/streams/s")
        return json_answer({**shown, "error": None})

    async with FaultServer(handler) as server, client_with(LONG, server) as client:
        with pytest.raises(ReplicateError, match=r"no \[hidden\]") as caught:
            await streamed(client)
    assert_unspoken(caught.value, LONG, LONG)


def assert_unspoken(error: BaseException, token: str, said: str) -> None:
    fewest = min(len(token), 12)
    parts = {text[at : at + fewest] for text in (token, said) for at in range(len(text) - fewest)}
    for link in chain(error):
        notes = getattr(link, "__notes__", ())
        shown = f"{link!s} {link!r} {link.args!r} {vars(link)!r} {notes!r}"
        shown += pickle.dumps(link).decode("latin-1")
        assert not [part for part in parts if part in shown], f"{type(link).__name__} shows it"


async def provoke(place: str, token: str, said: str) -> None:
    act, answer = PLACES[place]

    def handler(request: Request) -> Answer:
        if request.path == "/v1/predictions/streamed":
            stream = f"{server.url}/streams/s"
            return json_answer(prediction(server.url, status="processing", stream=stream))
        return answer(server, said)

    async with FaultServer(handler) as server, client_with(token, server) as client:
        with pytest.raises(ReplicateError) as caught:
            await act(client)
    assert_unspoken(caught.value, token, said)


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("place", PLACES)
async def test_a_token_that_is_repeated_is_not_said(place: str, kind: str) -> None:
    await provoke(place, TOKENS[kind], TOKENS[kind])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "place", ["Location", "Content-Type", "a body that is no JSON", "a problem's detail"]
)
async def test_a_token_in_another_form_is_not_said(place: str, form: str) -> None:
    await provoke(place, LONG, FORMS[form](LONG))


@pytest.mark.parametrize(
    ("kind", "form"),
    # What is short is a word by chance in base64.
    [
        *((kind, form) for kind in TOKENS for form in FORMS),
        *((kind, form) for kind in TOKENS for form in BASE64 if kind != "a short one"),
    ],
)
def test_text_that_holds_the_token_in_another_form_is_covered(kind: str, form: str) -> None:
    token = TOKENS[kind]
    said = {**FORMS, **BASE64}[form](token)

    found = Token(token).redact(f"before {said} after")

    assert token not in found
    assert said not in found
    assert "[hidden]" in found


def test_a_part_of_the_token_is_covered() -> None:
    token = Token(LONG)

    for length in range(17, len(LONG)):
        for start in range(len(LONG) - length + 1):
            found = token.redact(f"x{LONG[start : start + length]} y")
            assert found == "x[hidden] y"


def test_many_parts_of_the_token_are_covered() -> None:
    part = LONG[:20]

    found = Token(LONG).redact(f"{part} " * 5_000)

    assert found == "[hidden] " * 5_000


@pytest.mark.parametrize(
    "text", ["", "Not found.", "company-wide 100%", "a\\b&c", "x" * 1000, "r8_AbCdEf is short"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    for token in TOKENS.values():
        assert Token(token).redact(text) == text


async def test_what_the_api_says_beside_the_token_is_still_said() -> None:
    answer = problem_of(401, detail=f"The token {LONG} has expired.")
    async with (
        FaultServer(lambda _request: answer) as server,
        client_with(LONG, server) as client,
    ):
        with pytest.raises(ReplicateError, match=r"The token \[hidden\] has expired\."):
            await client.account.get()


async def test_events_of_a_stream_are_handed_over_as_they_came() -> None:
    def handler(request: Request) -> Answer:
        if request.path == "/v1/predictions/streamed":
            stream = f"{server.url}/streams/s"
            return json_answer(prediction(server.url, status="processing", stream=stream))
        return stream_answer(events(("output", "Hello")))

    async with (
        FaultServer(handler) as server,
        client_with(LONG, server) as client,
        client.predictions.stream("streamed") as following,
    ):
        said = [str(event) async for event in following]
    assert said[0] == "Hello"
