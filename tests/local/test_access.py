from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate, RateLimits, Settings
from replicate_async.local.http.openapi import document
from replicate_async.resources import ENDPOINTS
from tests.local.wire import Wire, header
from tests.support.sentinel import TOKEN

pytestmark = pytest.mark.anyio


async def raw(server: LocalReplicate, request: bytes) -> bytes:
    """Send bytes and return the answer until the server closes the connection."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_every_operation_but_search_needs_the_token(wire: Wire) -> None:
    for operation, endpoint in ENDPOINTS.items():
        path = endpoint.path.replace("{", "").replace("}", "")
        answer = await wire.ask(endpoint.method, path, token=None)

        if operation == "search":
            assert answer.status == 400
            continue
        assert answer.status == 401, operation
        assert header(answer, "ratelimit-remaining") is None
        assert header(answer, "Content-Type") == "application/problem+json"
        assert answer.json == {
            "title": "Unauthenticated",
            "detail": "You did not pass an authentication token",
            "status": 401,
        }


async def test_a_wrong_token_is_refused_in_98_bytes(wire: Wire) -> None:
    answer = await wire.ask("GET", "/account", token="r8_" + "x" * 37)

    assert answer.status == 401
    assert len(answer.body) == 98
    assert answer.json["detail"] == "You did not pass a valid authentication token"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Token {TOKEN}", 200),
        (f"TOKEN  {TOKEN}", 200),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer ", 401),
        ("Token", 401),
    ],
    ids=range(8),
)
async def test_both_schemes_are_understood(wire: Wire, value: str, status: int) -> None:
    answer = await wire.ask("GET", "/account", headers={"Authorization": value}, token=None)

    assert answer.status == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:8080", 421),
        ("a b", 421),
    ],
)
async def test_an_unknown_host_header_is_refused(wire: Wire, host: str, status: int) -> None:
    assert (await wire.ask("GET", "/account", headers={"Host": host})).status == status


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/none", "/v2/account", "//v1/account"])
async def test_unknown_routes_are_not_found(wire: Wire, path: str) -> None:
    answer = await wire.ask("GET", wire.server.origin + path)

    assert answer.status == 404
    assert answer.json == {
        "detail": "The requested resource could not be found.",
        "status": 404,
    }


async def test_other_methods_are_not_allowed(wire: Wire) -> None:
    answer = await wire.ask("PUT", "/account")

    assert (answer.status, answer.json) == (405, {"detail": 'Method "PUT" not allowed.'})
    assert header(answer, "Allow") == "GET,HEAD,OPTIONS".replace(",", ", ")


async def test_head_and_options_answer(wire: Wire) -> None:
    head = await wire.ask("HEAD", "/account")
    options = await wire.ask("OPTIONS", "/models/acme/echo", token=None)

    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    assert options.status == 200
    assert header(options, "Allow") == "GET, PATCH, DELETE, HEAD, OPTIONS"


async def test_no_cors_header_lets_another_origin_read(wire: Wire) -> None:
    answer = await wire.ask("GET", "/account", headers={"Origin": "https://evil.example"})

    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert header(answer, "X-Content-Type-Options") == "nosniff"


class TestLowLimits:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(rate_limits=RateLimits(create=1, get=0, other=2))

    async def test_a_request_over_the_limit_is_throttled_with_retry_after(self, wire: Wire) -> None:
        first = await wire.ask("GET", "/account")
        await wire.ask("GET", "/account")
        refused = await wire.ask("GET", "/account")

        assert header(first, "ratelimit-remaining") == "1"
        seconds = int(refused.headers["Retry-After"])
        assert refused.status == 429
        assert 0 < seconds <= 30
        assert header(refused, "Content-Type") == "application/problem+json"
        assert refused.json == {
            "detail": f"Request was throttled. Your rate limit resets in ~{seconds}s.",
            "status": 429,
            "retry_after": seconds,
        }
        wire.server.advance(30)
        assert (await wire.ask("GET", "/account")).status == 200

    async def test_no_limit_sends_no_headers(self, wire: Wire) -> None:
        answer = await wire.ask("GET", "/predictions/x")

        assert header(answer, "ratelimit-remaining") is None


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\xff\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/account HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: x\r\n\r\n",
        b"GET /%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v1/predictions/\xff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"POST /v1/predictions HTTP/1.0\r\nHost: \r\n\r\n",
    ],
)
async def test_garbage_is_answered_with_400(
    server: LocalReplicate, wire: Wire, request_bytes: bytes
) -> None:
    answer = await raw(server, request_bytes)

    assert answer.split()[1] in {b"400", b"401", b"404", b"421"}
    assert (await wire.ask("GET", "/account")).status == 200


async def test_a_token_in_a_broken_header_is_not_logged(
    server: LocalReplicate, caplog: pytest.LogCaptureFixture
) -> None:
    broken = f"GET / HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\0\r\n\r\n".encode()

    answer = await raw(server, broken)

    assert answer.startswith(b"HTTP/1.0 400")
    assert not [record for record in caplog.records if record.exc_info]


async def test_every_operation_is_described(wire: Wire) -> None:
    described = (await wire.ask("GET", "/openapi.json", token=None)).json

    found = {
        operation["operationId"]: (method.upper(), path)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert found == {name: (item.method, item.path) for name, item in ENDPOINTS.items()}
    assert described["servers"] == [{"url": wire.server.url}]
    assert document("http://x") == document("http://x")


def test_a_server_that_is_not_running_has_no_url() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = LocalReplicate().url


async def test_a_cancelled_scope_leaves_nothing_open() -> None:
    before = asyncio.all_tasks()
    server = LocalReplicate(api_token=TOKEN)
    with anyio.CancelScope() as scope:
        async with server, Wire(server) as wire:
            created = await wire.ask("POST", "/models/local/slow/predictions", json={"input": {}})
            assert created.status == 201
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    assert asyncio.all_tasks() == before
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


async def test_a_server_starts_once(server: LocalReplicate) -> None:
    with pytest.raises(RuntimeError, match="starts once"):
        await server.start()


async def test_a_port_in_use_is_an_error_and_leaves_nothing_open(server: LocalReplicate) -> None:
    port = urlsplit(server.url).port or 0

    with pytest.raises(OSError, match="address already in use"):
        async with LocalReplicate(port=port):
            pass


def test_names_of_models_are_checked() -> None:
    with pytest.raises(ValueError, match="owner/name"):
        LocalReplicate(models={"nope": print})


async def test_repr_shows_no_token(server: LocalReplicate) -> None:
    assert TOKEN not in repr(server)
    assert server.origin in repr(server)


async def test_the_url_of_a_wildcard_host_is_loopback() -> None:
    async with (
        LocalReplicate("0.0.0.0", builtins=False) as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        account = await client.account.get()

    assert account.username == server.username
