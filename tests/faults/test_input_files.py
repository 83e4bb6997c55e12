"""Files of an input over connections that break, and the bytes that they are sent as."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Final

import pytest

from replicate_async import Replicate, Retry
from replicate_async.errors import AmbiguousCreateError, APIConnectionError, RateLimitError
from tests.faults.calls import AT_ONCE, ONCE, after, client_of
from tests.support.cancel_sweep import cancel_sweep
from tests.support.fault_server import FaultServer
from tests.support.ports import free_port
from tests.support.replies import VERSION_ID, file, json_answer, problem, service
from tests.support.sentinel import TOKEN, caught
from tests.support.waiting import HANG
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio

LARGE: Final = bytes(range(256)) * 1200


def posts(server: FaultServer) -> list[str]:
    return [
        request.path.removeprefix("/v1/") for request in server.requests if request.method == "POST"
    ]


def parsed(request: Request) -> list[EmailMessage]:
    """Read a form as the standard library reads mail."""
    kind = request.header("content-type")
    message = BytesParser(policy=policy.HTTP).parsebytes(
        f"Content-Type: {kind}\r\n\r\n".encode() + request.body
    )
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return [part for part in message.iter_parts() if isinstance(part, EmailMessage)]


async def upload_by_hand(client: Replicate, content: bytes, name: str) -> None:
    await client.files.create(content, filename=name, metadata={"ü": 1})


@pytest.mark.parametrize(
    "name", ["plain.txt", 'say "hi".txt', "a\\b.txt", "a;b=c, d.txt", "x" * 251 + ".txt"]
)
@pytest.mark.parametrize("content", [b"", b"\r\n--boundary--\r\n", bytes(range(256))])
async def test_a_form_is_what_another_parser_reads(name: str, content: bytes) -> None:
    async with after() as server, client_of(server) as client:
        await upload_by_hand(client, content, name)

    [form] = server.requests
    uploaded, metadata = parsed(form)
    assert uploaded.get_filename() == name
    assert uploaded.get_content_type() == "text/plain"
    assert uploaded.get_payload(decode=True) == content
    assert metadata.get_content_disposition() == "form-data"
    assert metadata.get_content_type() == "application/json"
    assert metadata.get_payload(decode=True) == '{"ü":1}'.encode()


async def test_a_name_that_is_not_ascii_is_sent_as_utf_8() -> None:
    async with after() as server, client_of(server) as client:
        await upload_by_hand(client, b"x", "ça va, 日本語.txt")

    assert 'name="content"; filename="ça va, 日本語.txt"'.encode() in server.requests[0].body


@pytest.mark.parametrize("known", [True, False])
async def test_the_length_is_said_where_it_is_known(known: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield LARGE
        yield LARGE

    async with after() as server, client_of(server) as client:
        await client.files.create(LARGE * 2 if known else pieces(), filename="a.bin")

    [form] = server.requests
    assert (form.header("content-length") == str(len(form.body))) is known
    assert (form.header("transfer-encoding") == "chunked") is not known
    assert parsed(form)[0].get_payload(decode=True) == LARGE * 2


ANSWER_CUTS: Final = list(Answer(body=b"{}").cut_points())


@pytest.mark.parametrize("point", ANSWER_CUTS)
@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
async def test_an_upload_whose_answer_is_lost_is_not_sent_again(
    point: str, ending: Ending, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(LARGE)

    def handler(request: Request) -> Answer:
        answer = service("http://127.0.0.1/v1", request)
        return replace(answer, cut=answer.cut_points()[point], ending=ending)

    async with FaultServer(handler) as server, client_of(server) as client:
        with caught(AmbiguousCreateError) as found:
            await client.run("acme/echo", {"image": tmp_path / "a.png"})

    assert posts(server) == ["files"]
    assert server.creations == 1
    assert found.error.sent_at is not None


@pytest.mark.parametrize("received", [0, 1, 100, 300, 1000, 65_536, 200_000, 306_000])
async def test_an_upload_that_is_cut_on_its_way_is_not_sent_again(received: int) -> None:
    connections = 0
    sent = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while len(sent) < received:
            sent.extend(await reader.read(received - len(sent)))
        if not received:
            await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        Replicate(
            TOKEN,
            base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1",
            retry=AT_ONCE,
        ) as client,
    ):
        with caught(AmbiguousCreateError):
            await client.run("acme/echo", {"image": LARGE})

    assert connections == 1


async def test_an_upload_may_be_repeated_if_the_caller_allows_it() -> None:
    lost = Answer(cut=0, ending=Ending.RESET)
    with closing(io.BytesIO(b"skip" + LARGE)) as opened:
        opened.seek(4)
        async with after(lost, problem(503)) as server, client_of(server) as client:
            await client.files.create(opened, filename="a.bin", repeat=True)

        assert opened.tell() == 4
    assert [parsed(form)[0].get_payload(decode=True) for form in server.requests] == [LARGE] * 3


async def test_a_source_that_can_be_read_once_is_never_sent_again() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield LARGE

    async with after(Answer(cut=0, ending=Ending.RESET)) as server, client_of(server) as client:
        with caught(APIConnectionError):
            await client.files.create(pieces(), repeat=True)

    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["open file", "BytesIO", "path", "bytes"])
async def test_a_throttled_upload_starts_again_where_the_file_stood(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(b"skip" + LARGE)
    (tmp_path / "b.bin").write_bytes(LARGE)
    with (tmp_path / "a.bin").open("rb") as opened, closing(io.BytesIO(b"skip" + LARGE)) as memory:
        opened.seek(4)
        memory.seek(4)
        given = {
            "open file": opened,
            "BytesIO": memory,
            "path": tmp_path / "b.bin",
            "bytes": LARGE,
        }[kind]
        throttled = problem(429, "Request was throttled.", Retry_After="0")
        async with after(throttled, throttled) as server, client_of(server) as client:
            await client.predictions.create(VERSION_ID, {"image": given})

        assert (opened.tell(), memory.tell()) == (4, 4)
    assert posts(server) == ["files", "files", "files", "predictions"]
    for form in server.requests[:3]:
        assert parsed(form)[0].get_payload(decode=True) == LARGE


async def test_an_iterator_that_was_throttled_is_never_sent_short() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield LARGE

    throttled = problem(429, "Request was throttled.", Retry_After="0")
    async with after(throttled) as server, client_of(server) as client:
        with caught(RateLimitError):
            await client.predictions.create(VERSION_ID, {"image": pieces()})

    assert posts(server) == ["files"]


@pytest.mark.virtual_clock
async def test_an_iterator_waits_until_there_is_a_connection() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield LARGE

    late = after()
    late.port = free_port()
    async with client_of(late, retry=Retry(attempts=100, base=0.01, cap=0.01)) as client:
        creating = asyncio.create_task(client.predictions.create(VERSION_ID, {"image": pieces()}))
        await asyncio.sleep(0.03)
        async with late:
            await creating

    assert posts(late) == ["files", "predictions"]
    assert parsed(late.requests[0])[0].get_payload(decode=True) == LARGE


async def test_a_create_that_is_repeated_does_not_upload_again() -> None:
    throttled = problem(429, "Request was throttled.", Retry_After="0")
    refusals = iter([throttled, throttled])

    def handler(request: Request) -> Answer:
        if request.path.endswith("/predictions"):
            return next(refusals, None) or service(server.url, request)
        return service(server.url, request)

    async with FaultServer(handler) as server, client_of(server) as client:
        await client.predictions.create(VERSION_ID, {"image": LARGE})

    assert posts(server) == ["files", "predictions", "predictions", "predictions"]


async def test_a_create_at_a_second_endpoint_does_not_upload_again() -> None:
    def handler(request: Request) -> Answer:
        if request.path == "/v1/models/acme/echo/predictions":
            return problem(404)
        return service(server.url, request)

    async with FaultServer(handler) as server, client_of(server) as client:
        await client.predictions.create("acme/echo", {"image": LARGE})

    assert posts(server) == ["files", "models/acme/echo/predictions", "predictions"]


async def test_one_upload_that_fails_takes_the_others_along() -> None:
    numbers = itertools.count()

    def handler(request: Request) -> Answer:
        if (request.method, request.path) == ("POST", "/v1/files"):
            number = next(numbers)
            if number == 2:
                return problem(422)
            return json_answer(file(server.url, id=f"f{number}"), 201)
        return service(server.url, request)

    async with FaultServer(handler) as server, client_of(server, retry=ONCE) as client:
        with caught(Exception) as found:
            await client.run("acme/echo", {"images": [LARGE + bytes([n]) for n in range(12)]})

    assert getattr(found.error, "status", None) == 422
    made = [f"/v1/files/f{number}" for number in range(next(numbers)) if number != 2]
    deleted = [request.path for request in server.requests if request.method == "DELETE"]
    assert {"/v1/files/f0", "/v1/files/f1"} <= set(deleted) <= set(made)
    assert not any(path.endswith("predictions") for path in posts(server))
    assert len(made) < 11


async def test_no_more_than_four_uploads_of_an_input_are_on_their_way() -> None:
    def handler(request: Request) -> Answer:
        return replace(service(server.url, request), delay=0.01)

    async with FaultServer(handler) as server, client_of(server) as client:
        await client.predictions.create(
            VERSION_ID, {"images": [LARGE + bytes([n]) for n in range(12)]}
        )

    assert posts(server) == ["files"] * 12 + ["predictions"]
    assert len(server.connections) == 4


async def test_an_upload_after_an_ambiguous_create_stays() -> None:
    def handler(request: Request) -> Answer:
        answer = service(server.url, request)
        lost = request.path.endswith("/predictions")
        return replace(answer, cut=0, ending=Ending.RESET) if lost else answer

    async with FaultServer(handler) as server, client_of(server) as client:
        with caught(AmbiguousCreateError):
            await client.run("acme/echo", {"image": LARGE}, delete_uploads=True)

    assert [request.method for request in server.requests] == ["POST", "POST"]


@pytest.mark.parametrize(
    "kind",
    [
        "path",
        pytest.param("bytes", marks=pytest.mark.slow),
        pytest.param("iterator", marks=pytest.mark.slow),
    ],
)
async def test_uploads_cancelled_anywhere_leave_nothing_behind(kind: str, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.bin").write_bytes(LARGE)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield LARGE

    def given(number: int) -> object:
        if kind == "iterator":
            return pieces()
        return tmp_path / f"{number}.bin" if kind == "path" else LARGE + bytes([number])

    async with after() as server:

        async def run() -> None:
            async with client_of(server) as client:
                await client.run(
                    "acme/echo", {"images": [given(n) for n in range(3)]}, delete_uploads=True
                )

        async def scenario() -> None:
            # The uploads are tasks of their own, whose suspensions the sweep does not see: this
            # suspends all the time that they take.
            running = asyncio.create_task(run())
            try:
                while not running.done():
                    await asyncio.wait({running}, timeout=0.002)
            finally:
                running.cancel()
                await asyncio.wait({running})
            running.result()

        found = await cancel_sweep(scenario, open_connections=lambda: server.open_connections)
    found.assert_clean()
    assert found.points >= 4  # as many steps of 2 ms as the uploads take here


async def test_a_run_cancelled_while_it_uploads_ends_at_once_and_creates_nothing() -> None:
    uploading = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield LARGE
            uploading.set()
            await asyncio.sleep(0.001)

    async with after() as server, client_of(server) as client:
        for call in (
            client.run("acme/echo", {"image": endless()}),
            client.predictions.create("acme/echo", {"image": endless()}),
        ):
            uploading.clear()
            running = asyncio.create_task(call)
            await uploading.wait()
            running.cancel()
            async with asyncio.timeout(HANG):
                with pytest.raises(asyncio.CancelledError):
                    await running

    assert posts(server) == []


async def test_a_stream_cancelled_while_it_uploads_creates_nothing() -> None:
    uploading = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield LARGE
            uploading.set()
            await asyncio.sleep(0.001)

    async def follow(client: Replicate) -> None:
        async with client.stream("acme/echo", {"image": endless()}):
            raise AssertionError

    async with after() as server, client_of(server) as client:
        running = asyncio.create_task(follow(client))
        await uploading.wait()
        running.cancel()
        async with asyncio.timeout(HANG):
            with pytest.raises(asyncio.CancelledError):
                await running

    assert posts(server) == []
