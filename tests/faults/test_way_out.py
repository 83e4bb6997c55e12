"""One way out for all hosts: proxy, certificates and connector serve every connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
import trustme

from replicate_async import (
    APIConnectionError,
    ClientStateError,
    FileOutput,
    InvalidArgumentError,
    Limits,
    NotFoundError,
    RateLimitError,
    Replicate,
    ReplicateError,
    TLSError,
    UnprocessableEntityError,
    UntrustedURLError,
)
from replicate_async.context import context_of
from tests.faults.calls import ALL, ONCE
from tests.support.connect_proxy import ConnectProxy
from tests.support.fault_server import FaultServer
from tests.support.replies import events, json_answer, prediction, problem, service, stream_answer
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

API: Final = "api.corp.example"
FILES: Final = "files.corp.example"
STREAMS: Final = "stream.corp.example"
AUTHORITY: Final = trustme.CA()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)  # pyright: ignore[reportUnknownMemberType] - takes OpenSSL's, too
    return context


def answers(request: Request) -> Answer:
    """Answer as the API, the host of files and that of streams, which are all behind the proxy."""
    if request.header("Host") == FILES:
        return Answer(body=b"content")
    if request.header("Host") == STREAMS:
        return stream_answer(events(("output", "word")))
    if request.path == "/v1/predictions/streamed":
        stream = f"https://{STREAMS}/v1/events"
        return json_answer(prediction(f"https://{API}/v1", status="processing", stream=stream))
    return service(f"https://{API}/v1", request)


@asynccontextmanager
async def hidden_service() -> AsyncGenerator[tuple[FaultServer, ConnectProxy]]:
    """Serve hosts that can only be reached by a proxy."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(API, FILES, STREAMS).configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - as above
    async with FaultServer(answers, tls=context) as server, ConnectProxy(server.port) as proxy:
        yield server, proxy


def client_of(**options: Any) -> Replicate:
    return Replicate(
        TOKEN, base_url=f"https://{API}", retry=ONCE, limits=Limits(enabled=False), **options
    )


async def use(client: Replicate) -> None:
    """Ask for all that a client asks for: the API, an upload, a stream and an output file."""
    assert (await client.account.get()).username == "acme"
    await client.files.create(b"hello", filename="a.txt")
    async with client.predictions.stream("streamed") as stream:
        async for event in stream:
            assert str(event) == "word"
            break
    assert await FileOutput(f"https://{FILES}/out.png").with_client(client).read() == b"content"


def assert_took_the_proxy(server: FaultServer, proxy: ConnectProxy) -> None:
    assert set(proxy.hosts) == {API, FILES, STREAMS}
    assert not any(TOKEN.encode() in head for head in proxy.heads)
    for request in server.requests:
        foreign = request.header("Host") != API
        assert request.header("Authorization") == (None if foreign else f"Bearer {TOKEN}")
        if foreign:
            assert request.header("Cookie") is None
            assert request.header("X-Session") is None


async def test_a_proxy_and_certificates_serve_every_connection() -> None:
    async with (
        hidden_service() as (server, proxy),
        client_of(proxy=proxy.url, ssl=trusting()) as client,
    ):
        await use(client)
    assert_took_the_proxy(server, proxy)


async def test_copies_of_a_client_take_the_same_way_out() -> None:
    async with (
        hidden_service() as (server, proxy),
        client_of(proxy=proxy.url, ssl=trusting()) as client,
    ):
        await use(client.with_options(timeout=9.0))
    assert_took_the_proxy(server, proxy)


async def test_the_way_out_of_a_session_serves_other_hosts_without_its_headers() -> None:
    async with (
        hidden_service() as (server, proxy),
        aiohttp.ClientSession(
            proxy=proxy.url,
            connector=aiohttp.TCPConnector(ssl=trusting()),
            headers={"X-Session": "1", "Authorization": "Bearer another"},
            cookies={"session": "1"},
        ) as session,
    ):
        async with client_of(session=session) as client:
            await use(client)
        assert_took_the_proxy(server, proxy)
        assert server.requests[0].header("X-Session") == "1"
        assert server.requests[0].header("Cookie") == "session=1"
        assert not session.closed
        async with session.get(f"https://{API}/v1/account") as answer:
            assert answer.status == 200


async def test_a_session_takes_the_proxy_and_certificates_of_the_client() -> None:
    async with (
        hidden_service() as (server, proxy),
        aiohttp.ClientSession() as session,
        client_of(session=session, proxy=proxy.url, ssl=trusting()) as client,
    ):
        await use(client)
    assert_took_the_proxy(server, proxy)


class Tunnel(aiohttp.TCPConnector):
    """A connector that reaches hosts in its own way, as those for SOCKS do."""

    def __init__(self, port: int) -> None:
        super().__init__(ssl=trusting())  # pyright: ignore[reportUnknownMemberType] - aiohttp leaves a socket address bare
        self.port = port
        self.asked: list[str] = []

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[Any]:
        del port
        self.asked.append(host)
        return await super()._resolve_host("127.0.0.1", self.port, traces)


async def test_a_connector_of_any_kind_serves_other_hosts() -> None:
    async with hidden_service() as (server, _):
        connector = Tunnel(server.port)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with client_of(session=session) as client:
                await use(client)
            assert not connector.closed
        assert set(connector.asked) == {API, FILES, STREAMS}


async def test_proxies_of_the_environment_serve_every_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    async with hidden_service() as (server, proxy):
        monkeypatch.setenv("https_proxy", proxy.url)
        async with client_of(ssl=trusting(), trust_env=True) as client:
            await use(client)
        assert_took_the_proxy(server, proxy)
        async with (
            aiohttp.ClientSession(
                trust_env=True, connector=aiohttp.TCPConnector(ssl=trusting())
            ) as session,
            client_of(session=session) as client,
        ):
            await use(client)
        assert_took_the_proxy(server, proxy)


async def test_without_a_proxy_for_it_the_address_of_a_host_is_still_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "localtest.me")

    async def inward(host: str, *_: object, **__: object) -> list[Any]:
        assert host == "localtest.me"
        return [(2, 1, 6, "", ("127.0.0.1", 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", inward)
    async with client_of(trust_env=True) as client:
        with caught(UntrustedURLError):
            await FileOutput("https://localtest.me/a.png").with_client(client).read()


async def test_names_are_checked_behind_a_proxy() -> None:
    async with (
        hidden_service() as (_, proxy),
        client_of(proxy=proxy.url, ssl=trusting()) as client,
    ):
        for url in ("https://10.0.0.1/a.png", "https://host.internal/a", "http://files.example/a"):
            with caught(UntrustedURLError):
                await FileOutput(url).with_client(client).read()
        assert proxy.heads == []


@pytest.mark.parametrize("status", [407, 403, 502])
async def test_a_proxy_that_refuses_is_named(status: int) -> None:
    async with (
        ConnectProxy(9, status=status) as proxy,
        client_of(proxy=proxy.url) as client,
    ):
        with caught(APIConnectionError) as found:
            await ALL["predictions.create"](client)
        with caught(APIConnectionError):
            await FileOutput(f"https://{FILES}/out.png").with_client(client).read()

    assert f"The proxy answered {status}" in str(found.error)
    assert "howto/proxy" in str(found.error)
    assert found.error.phase == "not_sent"


async def test_a_proxy_that_is_not_there_is_named_without_its_password() -> None:
    async with client_of(proxy="http://user:pa55word@127.0.0.1:9") as client:
        with caught(APIConnectionError) as found:
            await ALL["predictions.create"](client)
        assert "pa55word" not in repr(client) + repr(vars(client))

    assert "the proxy 127.0.0.1:9" in str(found.error)
    assert "pa55word" not in f"{found.error!r}{vars(found.error)}"
    assert found.error.phase == "not_sent"


async def test_a_password_of_the_proxy_is_sent_to_the_proxy_alone() -> None:
    async with hidden_service() as (server, proxy):
        url = proxy.url.replace("http://", "http://user:pa55word@")
        async with client_of(proxy=url, ssl=trusting()) as client:
            await use(client)
    assert all(b"\r\nProxy-Authorization: Basic dXNlcjpwYTU1d29yZA==" in it for it in proxy.heads)
    assert b"Proxy-Authorization" not in b"".join(request.head for request in server.requests)


@pytest.mark.parametrize(
    "proxy",
    ["", "proxy:3128", "socks5://secret@proxy:1080", "ftp://proxy", "http://", "http://p:x", 5],
)
def test_a_proxy_that_cannot_be_one_is_refused(proxy: Any) -> None:
    with caught(InvalidArgumentError) as found:
        Replicate(TOKEN, proxy=proxy)

    assert str(found.error).startswith("proxy")
    assert "secret" not in str(found.error)
    assert ("session=" in str(found.error)) == ("socks" in str(proxy))


@pytest.mark.parametrize("tls", [None, "no", 0, object()])
def test_certificates_that_are_none_are_refused(tls: Any) -> None:
    with caught(InvalidArgumentError) as found:
        Replicate(TOKEN, ssl=tls)

    assert str(found.error).startswith("ssl=")


async def test_the_environment_does_not_reach_into_a_session() -> None:
    async with aiohttp.ClientSession() as session:
        with caught(InvalidArgumentError):
            Replicate(TOKEN, session=session, trust_env=True)
    async with aiohttp.ClientSession(trust_env=True) as session:
        Replicate(TOKEN, session=session, trust_env=True)


async def test_certificates_are_verified_unless_told_otherwise() -> None:
    async with hidden_service() as (server, proxy):
        async with client_of(proxy=proxy.url) as client:
            for call in (
                client.account.get(),
                context_of(client).open_file(f"https://{FILES}/out.png"),
            ):
                with caught(TLSError) as found:
                    await call
                assert "unable to get local issuer certificate" in str(found.error)
        assert server.requests == []
        async with client_of(proxy=proxy.url, ssl=False) as client:
            await use(client)


async def refuses(response: aiohttp.ClientResponse) -> None:
    response.raise_for_status()


async def meddle(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> Any:
    """Send a request again after an error, as a middleware for retries does."""
    response = await send(request)
    return response if response.ok else await send(request)


SESSIONS: Final[dict[str, dict[str, Any]]] = {
    "raises": {"raise_for_status": True},
    "calls back": {"raise_for_status": refuses},
    "does not decompress": {"auto_decompress": False},
    "is impatient": {"timeout": aiohttp.ClientTimeout(total=1e-9)},
    "has a base URL": {"base_url": "http://127.0.0.1:9/api/"},
    "encodes JSON": {"json_serialize": repr},
    "has headers": {"headers": {"Authorization": "Bearer another", "Accept": "text/html"}},
    "skips headers": {"skip_auto_headers": ["User-Agent", "Content-Type"]},
    "trusts the environment": {"trust_env": True},
    "repeats": {"middlewares": [meddle]},
}


@pytest.mark.parametrize("kind", SESSIONS)
async def test_what_a_session_is_set_to_changes_no_answer(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    def handler(request: Request) -> Answer:
        return refused.get(request.path) or zipped(service(server.url, request))

    refused = {
        "/v1/predictions/unknown": problem(404),
        "/v1/predictions": problem(422),
        "/v1/trainings/throttled": problem(429),
    }
    async with (
        FaultServer(handler) as server,
        aiohttp.ClientSession(**SESSIONS[kind]) as session,
        Replicate(TOKEN, base_url=server.url, session=session, retry=ONCE) as client,
    ):
        assert (await client.account.get()).username == "acme"
        await client.files.create(b"hello", filename="a.txt")
        with caught(NotFoundError):
            await client.predictions.get("unknown")
        with caught(UnprocessableEntityError):
            await ALL["predictions.create"](client)
        with caught(RateLimitError):
            await client.trainings.get("throttled")
        made = await ALL["models.predictions.create"](client)
        assert made is not None

    asked = [f"{request.method} {request.path}" for request in server.requests]
    assert asked.count("POST /v1/predictions") == 1
    assert len(asked) == 6
    assert {request.header("Authorization") for request in server.requests} == {f"Bearer {TOKEN}"}
    assert {request.header("Accept") for request in server.requests} == {"application/json"}


def zipped(answer: Answer) -> Answer:
    import gzip

    headers = (*answer.headers, ("Content-Encoding", "gzip"))
    return Answer(status=answer.status, headers=headers, body=gzip.compress(answer.body))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_session_with_a_password_of_its_own_sends_the_token() -> None:
    async with FaultServer(lambda request: service("", request)) as server:
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "password"))
        async with (
            session,
            Replicate(TOKEN, base_url=server.url, session=session, retry=ONCE) as client,
        ):
            await client.account.get()

    assert server.requests[0].header("Authorization") == f"Bearer {TOKEN}"


async def test_a_session_that_is_closed_is_named() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    async with client_of(session=session) as client:
        for call in (
            client.account.get(),
            context_of(client).open_file(f"https://{FILES}/out.png"),
        ):
            with caught(ReplicateError) as found:
                await call
            assert isinstance(found.error, ClientStateError)
            assert "session=" in str(found.error)


def test_a_session_of_another_event_loop_is_named() -> None:
    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def read(session: aiohttp.ClientSession) -> None:
        client = client_of(session=session)
        for call in (
            client.account.get(),
            context_of(client).open_file(f"https://{FILES}/out.png"),
        ):
            with caught(ClientStateError) as found:
                await call
            assert "another event loop" in str(found.error)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        session = first.run(make())
        second.run(read(session))
        first.run(session.close())


async def test_a_client_that_was_never_closed_leaves_the_session_in_peace() -> None:
    async with hidden_service() as (_, proxy), aiohttp.ClientSession(proxy=proxy.url) as session:
        client = client_of(session=session, ssl=trusting())
        await use(client)
        assert not session.closed
