"""Streams over connections that break, hang, lie and lead elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from replicate_async import (
    Poll,
    RedirectError,
    Replicate,
    ReplicateError,
    StreamLimitError,
    StreamResponseError,
    Timeout,
    UntrustedURLError,
)
from tests.faults.calls import client_of
from tests.support.cancel_sweep import cancel_sweep
from tests.support.fault_server import FaultServer, Stranger
from tests.support.replies import events, json_answer, prediction, stream_answer
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio

QUICK: Final = Poll(first=0.001, starting=0.001, processing=0.001)
WORDS: Final = ["Once", " upon", " a\ntime", " there", " was", "", " ✨", "."]
TEXT: Final = "".join(WORDS)
STREAM: Final = events(*(("output", word) for word in WORDS))


class Service:
    """The API with one prediction, whose stream comes as the test says."""

    def __init__(
        self, *streams: Answer, status: str = "processing", url: str | None = None
    ) -> None:
        self.streams = list(streams)
        self.status = status
        self.url = url
        self.server = FaultServer(self.answer)

    def answer(self, request: Request) -> Answer:
        if request.path == "/v1/stream":
            return self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        status = "canceled" if request.path.endswith("/cancel") else self.status
        url = f"{self.server.url}/stream" if self.url is None else self.url
        found = prediction(self.server.url, status=status, output=WORDS, stream=url)
        return json_answer(found, 201 if request.path.endswith("predictions") else 200)

    async def hung_up(self) -> None:
        """Wait until no stream is open."""
        streams = {request.connection for request in self.stream_requests}
        await self.server.until_closed(streams)

    @property
    def stream_requests(self) -> list[Request]:
        return [each for each in self.server.requests if each.path == "/v1/stream"]


async def read(client: Replicate) -> str:
    async with client.stream("acme/echo", {}, poll=QUICK) as stream:
        return "".join([text async for text in stream.text()])


def broken_off(at: int, ending: Ending) -> Answer:
    """Make a stream of which *at* bytes come, before it ends so."""
    whole = stream_answer(STREAM)
    return replace(whole, cut=len(whole.head()) + at, ending=ending)


async def test_a_stream_is_read_to_its_end_and_hung_up() -> None:
    service = Service(replace(stream_answer(STREAM), ending=Ending.HANG))
    async with service.server, client_of(service.server) as client:
        assert await read(client) == TEXT
        await service.hung_up()


@pytest.mark.parametrize("step", [1, 3, 50])
async def test_a_stream_in_crumbs_is_read_whole(step: int) -> None:
    service = Service(replace(stream_answer(STREAM), step=step))
    async with service.server, client_of(service.server) as client:
        assert await read(client) == TEXT


def rest_after(last_event_id: str | None) -> bytes:
    """Return what a server that can resume sends after an event."""
    if last_event_id is None:
        return STREAM
    blocks = STREAM.split(b"\n\n")
    named = f"id: {last_event_id}\n".encode()
    at = next(number for number, block in enumerate(blocks) if named in block)
    return b"\n\n".join(blocks[at + 1 :])


@pytest.mark.parametrize(
    "ending", [Ending.RESET, pytest.param(Ending.CLOSE, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("again", ["resumed", "repeated"])
async def test_a_stream_cut_at_any_byte_is_exact(ending: Ending, again: str) -> None:
    async def cut_at(byte: int) -> None:
        service = Service(broken_off(byte, ending))

        def handler(request: Request) -> Answer:
            if request.path != "/v1/stream" or len(service.stream_requests) == 1:
                return service.answer(request)
            last = request.header("last-event-id") if again == "resumed" else None
            return stream_answer(rest_after(last))

        service.server.handler = handler
        async with service.server, client_of(service.server) as client:
            assert await read(client) == TEXT, byte

    await asyncio.gather(*(cut_at(byte) for byte in range(0, len(STREAM), 5)))


REFUSALS: Final = {
    "204": Answer(status=204),
    "404": Answer(status=404, body=b"{}"),
    "410": Answer(status=410, body=b"{}"),
    "JSON": Answer(headers=(("Content-Type", "application/json"),), body=b"{}"),
    "HTML": Answer(headers=(("Content-Type", "text/html"),), body=b"<h1>Hello</h1>"),
    "no type": Answer(body=STREAM),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_an_answer_that_is_no_stream_is_typed(name: str) -> None:
    service = Service(REFUSALS[name])
    async with service.server, client_of(service.server) as client:
        with caught(StreamResponseError):
            await read(client)

    assert len(service.stream_requests) == 1


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refused_stream_of_a_finished_run_ends_with_its_output(name: str) -> None:
    service = Service(REFUSALS[name])
    async with service.server, client_of(service.server) as client:
        found = await client.predictions.get("abc")
        service.status = "succeeded"
        async with client.predictions.stream(found, poll=QUICK) as stream:
            assert "".join([text async for text in stream.text()]) == TEXT


async def test_an_event_without_end_is_given_up() -> None:
    def forever() -> Iterator[bytes]:
        yield b"event: output\nid: 1\ndata: "
        for _ in range(1000):
            yield b"x" * 65536

    head = stream_answer(b"").head()
    service = Service(Answer(raw=head, source=forever, ending=Ending.CLOSE))
    async with service.server, client_of(service.server) as client:
        with caught(StreamLimitError):
            await read(client)
        await service.hung_up()


async def test_comments_without_end_leave_the_callers_deadline_in_charge() -> None:
    def forever() -> Iterator[bytes]:
        while True:
            yield b": still here\n\n" * 10

    head = stream_answer(b"").head()
    service = Service(Answer(raw=head, source=forever))
    async with service.server, client_of(service.server) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await read(client)
        await service.hung_up()


@pytest.mark.virtual_clock
async def test_a_silent_stream_is_opened_again() -> None:
    service = Service(broken_off(60, Ending.HANG), stream_answer(STREAM))
    patience = Timeout(stream=0.03)
    async with service.server, client_of(service.server, timeout=patience) as client:
        assert await read(client) == TEXT
        await asyncio.sleep(0)

    assert len(service.stream_requests) == 2


async def test_a_stream_elsewhere_is_read_without_the_token() -> None:
    async with Stranger(stream_answer(STREAM)) as stranger:
        service = Service(stream_answer(b""), url=f"{stranger.origin}/streams/abc")
        async with service.server, client_of(service.server) as client:
            assert await read(client) == TEXT

        stranger.assert_never_saw([TOKEN])
        assert len(stranger.requests) == 1
        sent = {name for name, _ in stranger.requests[0].headers}
        assert not sent & {"authorization", "cookie", "proxy-authorization", "referer"}


async def test_a_stream_at_home_is_read_with_the_token() -> None:
    service = Service(stream_answer(STREAM))
    async with service.server, client_of(service.server) as client:
        await read(client)

    assert service.stream_requests[0].header("authorization") == f"Bearer {TOKEN}"


@pytest.mark.parametrize("location", ["ftp://x/", "http://evil.example/", "//evil.example/", ""])
async def test_a_stream_is_not_redirected_where_it_must_not_go(location: str) -> None:
    async with Stranger() as stranger:
        led = location.format(other=f"127.0.0.1:{stranger.port}")
        service = Service(Answer(status=302, headers=(("Location", led),)))
        async with service.server, client_of(service.server) as client:
            with caught(ReplicateError) as found:
                await read(client)
        stranger.assert_untouched()

    assert isinstance(found.error, UntrustedURLError | RedirectError)
    assert len(service.stream_requests) == 1


@pytest.mark.parametrize("location", ["stream", "/v1/stream", "//{own}/v1/stream"])
async def test_a_relative_redirect_of_a_stream_is_followed_with_the_token(location: str) -> None:
    service = Service(stream_answer(STREAM))
    async with service.server, client_of(service.server) as client:
        led = location.format(own=f"127.0.0.1:{service.server.port}")
        service.streams.insert(0, Answer(status=302, headers=(("Location", led),)))
        assert await read(client) == TEXT

    tokens = [request.header("authorization") for request in service.stream_requests]
    assert tokens == [f"Bearer {TOKEN}"] * 2


async def test_a_stream_redirected_to_another_host_leaves_the_token_behind() -> None:
    async with Stranger(stream_answer(STREAM)) as stranger:
        led = (("Location", f"{stranger.origin}/streams/abc"),)
        service = Service(Answer(status=307, headers=led))
        async with service.server, client_of(service.server) as client:
            assert await read(client) == TEXT
        stranger.assert_never_saw([TOKEN])

    assert len(stranger.requests) == 1


async def test_a_redirect_back_to_the_api_gets_no_token() -> None:
    service = Service(stream_answer(STREAM))
    async with service.server:
        led = (("Location", f"{service.server.url}/stream"),)
        async with Stranger(Answer(status=307, headers=led)) as stranger:
            service.url = f"{stranger.origin}/streams/abc"
            async with client_of(service.server) as client:
                assert await read(client) == TEXT

    assert service.stream_requests[0].header("authorization") is None


@pytest.mark.parametrize(
    "url",
    [
        "//{other}/v1/stream",
        "http://{own}@{other}/v1/stream",
        "http://{other}\\@{own}/",
        "http://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/stream",
        "https://localhost.evil.example:444/",
        "file:///etc/passwd",
        "ftp://{own}/",
        "javascript:alert(1)",
        "http://evil.example/",
        "/v1/stream",
        " ",
        "http://[bad",
    ],
)
async def test_a_stream_that_leads_where_it_must_not_is_not_asked_for(url: str) -> None:
    service = Service(stream_answer(STREAM))
    async with Stranger() as stranger, service.server, client_of(service.server) as client:
        service.url = url.format(
            own=f"127.0.0.1:{service.server.port}", other=f"127.0.0.1:{stranger.port}"
        )
        with caught(UntrustedURLError):
            await read(client)
        stranger.assert_untouched()

    assert not service.stream_requests


async def run_and_stream(client: Replicate) -> None:
    await read(client)


async def leave_early(client: Replicate) -> None:
    async with client.stream("acme/echo", {}, poll=QUICK) as stream:
        async for _ in stream:
            break


async def leave_and_let_it_run(client: Replicate) -> None:
    async with client.stream("acme/echo", {}, on_exit="continue", poll=QUICK) as stream:
        async for _ in stream:
            break


async def join_late(client: Replicate) -> None:
    async with client.predictions.stream("abc", poll=QUICK) as stream:
        assert [event async for event in stream.raw()]


async def only_the_end(client: Replicate) -> None:
    async with client.predictions.stream("abc", poll=QUICK) as stream:
        await stream.final()


FLOWS: Final = {
    "run and stream": run_and_stream,
    "leave early": leave_early,
    "leave and let it run": leave_and_let_it_run,
    "join late": join_late,
    "only the end": only_the_end,
}


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(
    "shape",
    [
        "broken",
        pytest.param("whole", marks=pytest.mark.slow),
        pytest.param("absent", marks=pytest.mark.slow),
    ],
)
async def test_a_stream_cancelled_anywhere_leaves_nothing_behind(name: str, shape: str) -> None:
    whole, cut = stream_answer(STREAM), broken_off(100, Ending.RESET)
    service = Service(whole, url="" if shape == "absent" else None, status="succeeded")
    first = True

    def handler(request: Request) -> Answer:
        nonlocal first
        answer = service.answer(request)
        if request.method == "POST":
            first = True
        if request.path == "/v1/stream" and shape == "broken":
            answer, first = (cut if first else whole), False
        return answer

    service.server.handler = handler

    async def scenario() -> None:
        async with client_of(service.server) as client:
            await FLOWS[name](client)

    async with service.server:
        found = await cancel_sweep(
            scenario, open_connections=lambda: service.server.open_connections
        )

    found.assert_clean()


async def test_a_stream_left_early_cancels_the_run_and_closes_the_connection() -> None:
    service = Service(broken_off(100, Ending.HANG))
    async with service.server, client_of(service.server) as client:
        await leave_early(client)
        assert service.server.requests[-1].path.endswith("/cancel")
        await service.hung_up()
