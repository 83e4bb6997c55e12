"""Requests that another website can make a browser send, and the answers of the examples."""

from __future__ import annotations

import json

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from replicate_async.web import request_refusal
from tests.web.browser import fetch, runs
from tests.web.example import conversation, example
from tests.web.test_examples import NEEDS, use_chat

HOST = {"Host": "127.0.0.1:8000"}
BODY = {"Content-Length": "20", "Content-Type": "application/json; charset=utf-8"}
ROUTES = {
    "fastapi_chat": ("/runs", conversation("hello")),
    "aiohttp_chat": ("/runs", conversation("hello")),
    "usechat_backend": ("/api/chat", use_chat("hello")),
    "quart_recipe": ("/story?prompt=hello", ""),
    "litestar_recipe": ("/story?prompt=hello", ""),
}
FOREIGN = {
    "a form": {"Content_Type": "text/plain", "Origin": "https://evil.example"},
    "a form without an origin": {"Content_Type": "text/plain"},
    "a page in a frame": {"Origin": "null"},
    "another program on this machine": {"Origin": "http://127.0.0.1:1"},
    "an old browser": {"Sec_Fetch_Site": "cross-site"},
    "a rebound name": {"Host": "evil.example", "Origin": "http://evil.example"},
}


def status(method: str, headers: dict[str, str], **more: list[str]) -> int | None:
    refusal = request_refusal(method, {**HOST, **headers}, **more)
    return None if refusal is None else refusal.status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "LOCALHOST"},
        {"Host": "[::1]:8000", "Origin": "http://[::1]:8000"},
        {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://127.0.0.1:8000"},
    ],
)
def test_the_pages_own_requests_and_those_of_programs_pass(headers: dict[str, str]) -> None:
    assert status("GET", headers) is None
    assert status("POST", headers) is None
    assert status("POST", {**headers, "Content-Length": "0", "content-type": "text/plain"}) is None
    assert status("POST", {**headers, **BODY}) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example:8000", "localhost:8000@evil.example", "[::2]",
     "localhost:"],
)  # fmt: skip
def test_a_host_that_is_not_served_is_refused(host: str) -> None:
    assert status("GET", {"Host": host}) == 403
    assert status("POST", {"Host": host, "Origin": f"http://{host}"}) == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:80000",
               "ftp://127.0.0.1:8000", "127.0.0.1:8000"]
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_another_origin_is_refused(method: str, origin: str) -> None:
    assert status(method, {"Origin": origin}) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_cross_site_request_is_a_get_at_most(site: str) -> None:
    assert status("post", {"Sec-Fetch-Site": site}) == 403
    assert status("GET", {"Sec-Fetch-Site": site}) is None


@pytest.mark.parametrize("media", ["", "text/plain", "multipart/form-data", "application/jsonp"])
def test_a_body_is_json(media: str) -> None:
    assert status("POST", {"Content-Length": "2", "Content-Type": media}) == 415
    assert status("POST", {"Transfer-Encoding": "chunked", "Content-Type": media}) == 415


def test_other_hosts_and_origins_are_served_by_name() -> None:
    hosts, origins = ["Chat.example.com", "x.example:8443"], ["https://www.example.com/"]
    assert status("GET", {"Host": "chat.example.com"}, hosts=hosts) is None
    assert status("GET", {"Host": "chat.example.com:99"}, hosts=hosts) is None
    assert status("GET", {"Host": "x.example:8443"}, hosts=hosts) is None
    assert status("GET", {"Host": "x.example"}, hosts=hosts) == 403
    assert status("GET", {}, hosts=hosts) == 403
    assert status("POST", {"Origin": "https://www.example.com"}, origins=origins) is None
    assert status("POST", {"Origin": "http://www.example.com"}, origins=origins) == 403
    # The one name, and not its letters.
    assert request_refusal("GET", {"Host": "c"}, hosts="chat.example.com") is not None
    assert request_refusal("GET", {"Host": "chat.example.com"}, hosts="chat.example.com") is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name",
    [
        name if name.endswith("_chat") else pytest.param(name, marks=pytest.mark.slow)
        for name in ROUTES
    ],
)
async def test_no_other_page_starts_a_run(
    name: str, server: LocalReplicate, client: Replicate
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="the web session installs it")
    path, body = ROUTES[name]
    async with example(name, "--model", "acme/chat", server=server) as port:
        for kind, headers in FOREIGN.items():
            if not body and kind == "a form without an origin":
                continue
            answer = await fetch(port, path, "POST", body, **headers)
            assert answer.status in {403, 415}, kind
            assert "detail" in json.loads(answer.body)
        assert await runs(client) == []
        own = f"http://127.0.0.1:{port}"
        told = await fetch(port, path, "POST", body, Origin=own, Sec_Fetch_Site="same-origin")
        assert told.status in {200, 201}
    assert len(await runs(client)) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name", ["aiohttp_chat", pytest.param("fastapi_chat", marks=pytest.mark.slow)]
)
async def test_a_rebound_name_sees_nothing(name: str, server: LocalReplicate) -> None:
    async with example(name, "--model", "acme/chat", server=server) as port:
        asked = await fetch(port, "/runs", "POST", conversation("hello"))
        run = f"/runs/{json.loads(asked.body)['id']}"
        for path, method in (("/", "GET"), (f"{run}/events", "GET"), (f"{run}/stop", "POST")):
            assert (await fetch(port, path, method, Host="evil.example")).status == 403
        foreign = await fetch(port, f"{run}/stop", "POST", Origin="https://evil.example")
        assert foreign.status == 403
