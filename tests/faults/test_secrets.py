"""The token goes to the API and nowhere else: not into texts, copies, tracebacks or logs."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest

from replicate_async import InvalidArgumentError, Replicate, ReplicateError, Timeout
from tests.faults.calls import ALL, AT_ONCE, CREATES, ONCE, after, client_of
from tests.support.fault_server import FaultServer, Stranger, script
from tests.support.ports import free_port
from tests.support.replies import json_answer, prediction, problem, service
from tests.support.sentinel import TOKEN, assert_opaque, assert_silent, caught
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio

PROXIES: Final = ["http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"]


async def test_a_client_shows_its_token_nowhere() -> None:
    async with after() as server, client_of(server) as client:
        await client.account.get()
        assert_opaque(client, "client")
        for name, part in vars(client).items():
            assert_opaque(part, name)
            for key, inner in getattr(part, "__dict__", {}).items():
                assert_opaque(inner, f"{name}.{key}")
        assert_opaque(client.with_options(timeout=1.0), "copy")
        assert_opaque(client.predictions.list(), "listing")


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.deepcopy])
async def test_a_client_cannot_be_pickled_or_copied_with_its_token(duplicate: object) -> None:
    assert callable(duplicate)
    client = Replicate(TOKEN)

    with pytest.raises(TypeError) as refusal:
        duplicate(client)

    assert_silent(str(refusal.value), "the refusal")


FAULTS: Final = {
    "closed": Answer(cut=0, ending=Ending.CLOSE),
    "reset": Answer(cut=0, ending=Ending.RESET),
    "no HTTP": Answer(raw=b"SSH-2.0\r\n\r\n", ending=Ending.CLOSE),
    "bad header": Answer(raw=b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", ending=Ending.CLOSE),
    "long header": Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, ending=Ending.CLOSE),
    "truncated": Answer(body=b"{" * 100, cut=80, ending=Ending.CLOSE),
    "bad encoding": Answer(headers=(("Content-Encoding", "gzip"),), body=b"not gzip"),
    "not JSON": Answer(body=b"not JSON"),
    "wrong JSON": Answer(body=b'{"x": 1}'),
    "redirect": Answer(status=302, headers=(("Location", "https://evil.example/"),), acts=False),
    "bad redirect": Answer(status=302, headers=(("Location", "http://["),), acts=False),
    "400": problem(400),
    "401": problem(401),
    "429": problem(429, Retry_After="100"),
    "500": problem(500),
    "upgrade": Answer(raw=b"HTTP/1.1 101 Switching Protocols\r\n\r\n", ending=Ending.CLOSE),
    "proxy authentication": Answer(status=407, headers=(("Proxy-Authenticate", "Basic"),)),
    "digest": Answer(status=401, headers=(("WWW-Authenticate", 'Digest realm="x", nonce="y"'),)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["predictions.create", "predictions.get", "files.create"])
async def test_no_error_shows_the_token(name: str, fault: str) -> None:
    async with FaultServer(script(FAULTS[fault])) as server, client_of(server) as client:
        with caught(ReplicateError) as found:
            await ALL[name](client)

    again = pickle.loads(pickle.dumps(found.error))
    assert type(again) is type(found.error)
    assert str(again) == str(found.error)
    assert vars(again) == vars(found.error)


async def test_a_timeout_shows_no_token() -> None:
    silent = Answer(cut=0, ending=Ending.HANG)
    quick = Timeout(read=0.02)
    async with (
        FaultServer(script(silent)) as server,
        client_of(server, retry=ONCE, timeout=quick) as client,
    ):
        with caught(ReplicateError):
            await client.predictions.get("abc")


async def test_a_refused_connection_shows_no_token() -> None:
    server = FaultServer(script(Answer()))
    server.port = free_port()
    async with client_of(server) as client:
        with caught(ReplicateError):
            await client.predictions.get("abc")


BAD_TOKENS: Final = {
    "line break": f"{TOKEN}\n",
    "carriage return": f"{TOKEN}\r",
    "header": f"{TOKEN}\r\nX-Evil: 1",
    "NUL": f"{TOKEN}\0",
    "space": f"{TOKEN} {TOKEN}",
    "scheme": f"Bearer {TOKEN}",
    "tab": f"\t{TOKEN}",
    "delete": f"{TOKEN}\x7f",
    "Latin-1": f"{TOKEN}é",
    "emoji": f"{TOKEN}🔑",
    "wide": TOKEN.replace("0", "０"),  # noqa: RUF001 - a digit that only looks like one
    "surrogate": f"{TOKEN}\ud800",
    "empty": "",
    "blank": " ",
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_is_refused_and_not_repeated(name: str) -> None:
    with caught(InvalidArgumentError) as found:
        Replicate(BAD_TOKENS[name])

    assert isinstance(found.error, ValueError)


async def test_a_bad_token_in_options_is_refused_and_not_repeated() -> None:
    client = Replicate(TOKEN)

    with caught(InvalidArgumentError):
        client.with_options(api_token=f"{TOKEN}\n")


def test_a_base_url_with_a_password_in_it_is_refused_and_not_repeated() -> None:
    with caught(InvalidArgumentError):
        Replicate("r8_other", base_url=f"https://user:{TOKEN}@api.replicate.com")


@pytest.mark.parametrize("name", ALL)
async def test_the_token_travels_in_one_header_only(name: str) -> None:
    async with after() as server, client_of(server) as client:
        await ALL[name](client)

    for request in server.requests:
        sent = [value for _, value in request.headers if TOKEN in value]
        assert sent == [f"Bearer {TOKEN}"]
        assert TOKEN not in request.target
        assert TOKEN.encode() not in request.body


async def test_each_client_of_a_session_sends_its_own_token() -> None:
    async with after() as server, client_of(server) as client:
        await client.with_options(api_token="r8_other").account.get()
        await client.account.get()

    sent = [request.header("authorization") for request in server.requests]
    assert sent == ["Bearer r8_other", f"Bearer {TOKEN}"]


async def test_prompts_and_outputs_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def handler(request: Request) -> Answer:
        if len(server.requests) == 1:
            return problem(429, Retry_After="0")
        return json_answer(prediction(server.url, output="a private answer"), 201)

    async with FaultServer(handler) as server, client_of(server) as client:
        await client.models.predictions.create("acme/echo", {"prompt": "a private question"})

    assert "private" not in caplog.text
    assert "again in" in caplog.text  # so that something was logged at all


async def test_cookies_are_neither_kept_nor_sent() -> None:
    def handler(request: Request) -> Answer:
        answer = service(server.url, request)
        cookies = ("Set-Cookie", "session=1; Path=/"), ("Set-Cookie", "tracker=2; Domain=127.0.0.1")
        return Answer(status=answer.status, headers=(*answer.headers, *cookies), body=answer.body)

    async with FaultServer(handler) as server, client_of(server) as client:
        for _ in range(3):
            await client.predictions.get("abc")
            await CREATES["files.create"](client)

    assert len(server.requests) == 6
    assert not any(request.header("cookie") for request in server.requests)


async def test_proxies_and_netrc_of_the_environment_play_no_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")

    async with Stranger() as proxy, after() as server:
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.origin)
            monkeypatch.setenv(name.upper(), proxy.origin)
        async with client_of(server) as client:
            await client.account.get()
            await CREATES["predictions.create"](client)
        proxy.assert_untouched()

    sent = {request.header("authorization") for request in server.requests}
    assert sent == {f"Bearer {TOKEN}"}


async def test_a_plain_http_host_that_is_not_loopback_is_refused() -> None:
    with caught(InvalidArgumentError):
        Replicate(TOKEN, base_url="http://api.replicate.com")


BAD_IDS: Final = [
    "",
    ".",
    "..",
    "%2e%2e",
    "a/b",
    "a?b",
    "a#b",
    "a\\b",
    "a\0b",
    "a\r\nb",
    "a b",
    "x" * 10_000,
    "a%2fb",
]


@pytest.mark.parametrize("bad", BAD_IDS, ids=[repr(bad)[:20] for bad in BAD_IDS])
async def test_an_id_that_is_no_plain_segment_is_never_sent(bad: str) -> None:
    async with after() as server, client_of(server, retry=AT_ONCE) as client:
        with caught(InvalidArgumentError):
            await client.predictions.get(bad)
        with caught(InvalidArgumentError):
            await client.files.delete(bad)

    assert server.connections == []


@pytest.mark.parametrize("id", ["ünï", "漢字", "a:b@c", "a=b;c,d", "~a!$&'()*+", "a'\"<>`{}|^"])
async def test_an_odd_id_is_encoded_once_and_stays_one_segment(id: str) -> None:
    async with after() as server, client_of(server) as client:
        await client.predictions.get(id)

    prefix, _, last = server.requests[0].target.rpartition("/")
    assert prefix == "/v1/predictions"
    assert unquote(last) == id
