"""What a connector of the caller's raises: a connection error, sent or not as it was."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest

from replicate_async import (
    AmbiguousCreateError,
    APIConnectionError,
    FileOutput,
    Poll,
    Replicate,
    TLSError,
)
from replicate_async.context import context_of
from tests.faults.calls import ALL, AT_ONCE, CREATES, ONCE, client_of
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction, service
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

QUICK: Final = Poll(first=0.001, starting=0.001, processing=0.001)
PASSWORD: Final = "pa55word"


class ProxyError(Exception):
    """What libraries for proxies raise: no error of the network's."""


class ProxyRefusedError(OSError):
    """Another of theirs, which aiohttp takes for a connection that broke."""


RAISED: Final[dict[str, Callable[[], Exception]]] = {
    "its own": lambda: ProxyError(f"no way through {PASSWORD}"),
    "any": lambda: Exception(PASSWORD),
    "an OSError": lambda: ProxyRefusedError(PASSWORD),
    "refused": lambda: ConnectionRefusedError(111, PASSWORD),
    "reset": lambda: ConnectionResetError(104, PASSWORD),
    "a timeout": lambda: TimeoutError(PASSWORD),
    "a value": lambda: ValueError(PASSWORD),
    "a key": lambda: KeyError(PASSWORD),
    "a runtime error": lambda: RuntimeError(PASSWORD),
    "of aiohttp": lambda: aiohttp.ServerDisconnectedError(PASSWORD),
    "half of aiohttp's": lambda: aiohttp.ClientConnectorError(None, OSError(PASSWORD)),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - a careless connector
    "a group": lambda: ExceptionGroup(PASSWORD, [OSError(1, PASSWORD), ProxyError(PASSWORD)]),
}


class Failing(aiohttp.TCPConnector):
    """A connector that fails as a test says, while it connects or when it has."""

    def __init__(self, fail: Callable[[], Exception], times: float = float("inf")) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - aiohttp leaves a socket address bare
        self.fail = fail
        self.times = times
        self.failed = 0

    async def connect(self, *args: Any, **options: Any) -> Any:
        if self.failed < self.times:
            self.failed += 1
            raise self.fail()
        return await super().connect(*args, **options)


class FailingInside(Failing):
    """One that fails further below, as those for SOCKS do."""

    async def connect(self, *args: Any, **options: Any) -> Any:
        return await aiohttp.TCPConnector.connect(self, *args, **options)

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        if self.failed < self.times:
            self.failed += 1
            raise self.fail()
        return await super()._create_connection(*args, **options)


CONNECTORS: Final = [Failing, FailingInside]


@asynccontextmanager
async def over(
    connector: aiohttp.TCPConnector, server: FaultServer, *, repeated: bool = False
) -> AsyncGenerator[Replicate]:
    """Open a client of *server* whose session has *connector*."""
    retry = AT_ONCE if repeated else ONCE
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        Replicate(TOKEN, base_url=server.url, session=session, retry=retry) as client,
    ):
        yield client


def serving() -> FaultServer:
    """Make a server that answers as the service does when all goes well."""
    server = FaultServer(lambda request: service(server.url, request))
    return server


@pytest.mark.parametrize("kind", CONNECTORS)
@pytest.mark.parametrize("raised", RAISED)
async def test_what_fails_while_connecting_was_not_sent(raised: str, kind: type[Failing]) -> None:
    async with serving() as server, over(kind(RAISED[raised]), server) as client:
        for call in ("predictions.create", "account.get", "files.create"):
            with caught(APIConnectionError) as found:
                await ALL[call](client)
            assert found.error.phase == "not_sent"
            assert not isinstance(found.error, AmbiguousCreateError)
            assert PASSWORD not in f"{found.error} {found.error!r} {vars(found.error)}"

    assert server.requests == []


@pytest.mark.parametrize("raised", ["its own", "an OSError", "a value", "a group"])
async def test_a_create_that_did_not_get_out_is_sent_again(raised: str) -> None:
    connector = Failing(RAISED[raised], times=2)
    async with serving() as server, over(connector, server, repeated=True) as client:
        for create in CREATES.values():
            connector.failed = 0
            await create(client)

    assert server.creations == len(CREATES)


@pytest.mark.parametrize("raised", ["its own", "an OSError", "any"])
async def test_files_and_streams_end_with_a_connection_error(raised: str) -> None:
    opened: list[Callable[[Replicate], Awaitable[object]]] = [
        lambda client: context_of(client).open_stream("https://stream.example/v1/events"),
        lambda client: FileOutput("https://files.example/a.png").with_client(client).read(),
    ]
    async with serving() as server, over(Failing(RAISED[raised]), server) as client:
        for open_it in opened:
            with caught(APIConnectionError) as found:
                await open_it(client)
            assert found.error.phase == "not_sent"
            assert PASSWORD not in str(found.error)


@pytest.mark.parametrize("raised", ["its own", "an OSError", "any", "half of aiohttp's"])
async def test_polls_that_a_connector_fails_do_not_cancel_the_run(raised: str) -> None:
    """The first request creates the run; the next three do not get out."""

    def answer(request: Request) -> Answer:
        if request.method == "POST":
            connector.failed = 0
            return json_answer(prediction(server.url, id="p", status="starting"), 201)
        return json_answer(prediction(server.url, id="p"))

    connector = Failing(RAISED[raised], times=3)
    connector.failed = 3
    async with FaultServer(answer) as server, over(connector, server) as client:
        assert await client.run("acme/echo", {}, poll=QUICK) == "Hello."

    assert connector.failed == 3
    assert [request.method for request in server.requests] == ["POST", "GET"]


async def test_a_certificate_that_a_connector_refuses_is_an_error_of_tls() -> None:
    def refuse() -> Exception:
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_code, error.verify_message = 10, "certificate has expired"
        return error

    async with serving() as server, over(Failing(refuse), server, repeated=True) as client:
        with caught(TLSError) as found:
            await ALL["predictions.create"](client)

    assert found.error.phase == "not_sent"


@pytest.mark.parametrize("raised", ["its own", "an OSError", "any", "a group"])
async def test_what_fails_after_the_request_left_may_have_happened(raised: str) -> None:
    """A trace of the caller's raises when the request has been written."""
    trace = aiohttp.TraceConfig()

    async def fail(*_: object) -> None:
        error = RAISED[raised]()
        raise error

    trace.on_request_end.append(fail)
    async with (
        serving() as server,
        aiohttp.ClientSession(trace_configs=[trace]) as session,
        Replicate(TOKEN, base_url=server.url, session=session, retry=AT_ONCE) as client,
    ):
        with caught(AmbiguousCreateError) as found:
            await ALL["predictions.create"](client)
        with caught(APIConnectionError):
            await ALL["account.get"](client)

    assert isinstance(found.error, APIConnectionError)
    assert found.error.phase == "ambiguous"
    assert server.creations == 1


async def test_a_client_without_a_session_of_its_own_connects_as_before() -> None:
    async with serving() as server, client_of(server) as client:
        assert await ALL["predictions.create"](client)
