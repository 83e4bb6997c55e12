from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Iterable, Sequence
from typing import Final

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate, RateLimits, Settings
from replicate_async.resources import ENDPOINTS
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio

SETTINGS: Final = Settings(rate_limits=RateLimits.off(), sync_wait_cap=0.01, run_timeout=5)

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "X")
SEGMENTS: Final = (
    "local",
    "echo",
    "storyteller",
    "replicate",
    "hello-world",
    "dev",
    "..",
    ".",
    "%2e%2e",
    "%2F",
    "%00",
    "%ff%fe",
    "%",
    "%zz",
    "a" * 600,
    "%F0%9F%A6%8A",
    "%E2%80%A8",
    "{}",
    "null",
    "-1",
    "bcwr-" + "a" * 52,
)
KNOWN: Final = {"model_owner": "local", "model_name": "storyteller", "collection_slug": "built-in"}
QUERIES: Final = (
    "",
    "?",
    "?cursor=",
    "?cursor=%00",
    "?cursor=bm90IGEgY3Vyc29y",
    "?cursor=" + "A" * 4000,
    "?created_after=yesterday",
    "?created_after=9999-12-31T23:59:59.999999Z",
    "?created_after=0001-01-01T00:00:00%2B14:00",
    "?limit=-1&query=%ff",
    "?query=" + "a+" * 500,
    "?owner=dev&expiry=99999999999999999999&signature=%00",
    "?owner=%ED%A0%80&expiry=%D9%A1&signature=%C3%A9",
    "?sort_by=&sort_by=model_created_at",
    "?&&==&%",
)
BODIES: Final = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"1e999",
    b"NaN",
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    b"[" * 5000,
    b'{"input":' * 2000 + b"1" + b"}" * 2000,
    b'{"input":{},"input":null}',
    b'{"input":{"value":' + b"9" * 5000 + b"}}",
    b'{"input":{"value":"\\ud800"}}',
    b'{"input":{"value":1},"webhook":"javascript:alert(1)"}',
    b'{"input":{"value":1},"webhook":"http://[::1","webhook_events_filter":["x"]}',
    b'{"input":{"":null,"\\u0000":1},"stream":"yes"}',
    b'{"version":"local/echo","input":{"value":-0.0}}',
    b'{"version":"%s","input":[]}' % (b"0" * 64),
    b'{"version":"../../etc","input":{}}',
    b'{"owner":"dev","name":"\\u0130","visibility":"private","hardware":"cpu"}',
    b'{"owner":"dev","name":"a","visibility":"private","hardware":"cpu","description":1}',
    b'{"name":"x","model":"a/b/c","version":"","hardware":[],"min_instances":1e400}',
    b'{"destination":"dev/","input":{"text":""}}',
    b"--b\r\nContent-Disposition: form-data; name=content\r\n\r\nx",
    b"--b\r\nContent-Disposition: form-data; name=content; filename=\xff\r\n\r\nx\r\n--b--\r\n",
    b"--b\r\n\r\n\r\n--b--",
)
HEADERS: Final = (
    "Content-Type: application/json",
    "Content-Type: application/json; charset=utf-7",
    "Content-Type: application/merge-patch+json",
    "Content-Type: text/plain; charset=nonsense",
    "Content-Type: multipart/form-data; boundary=b",
    "Content-Type: multipart/form-data",
    "Content-Type: multipart/form-data; boundary=" + "b" * 300,
    "Content-Type: ;;;",
    "Content-Encoding: gzip",
    "Content-Encoding: br",
    "Prefer: wait",
    "Prefer: wait=",
    "Prefer: wait=99999999999999999999",
    "Prefer: wait=-1, respond-async; wait=\u0661",
    "Cancel-After: 5s",
    "Cancel-After: 1e309s",
    "Cancel-After: \u0665m",
    "Cancel-After: 99999999999999d",
    "Last-Event-ID: \u00ff",
    "Range: bytes=9-1",
    "If-None-Match: *",
    "Accept: application/xml",
    "Accept-Encoding: identity;q=0",
    "X-Forwarded-Proto: gopher",
    "Expect: 100-continue",
    "Cookie: a",
)


class Fuzz:
    """Malformed requests, the same ones in each run."""

    def __init__(self, server: LocalReplicate, seed: int) -> None:
        self.rng = random.Random(seed)
        self.token = server.api_token
        self.port = int(server.origin.rpartition(":")[2])

    def path(self) -> str:
        template = self.rng.choice([endpoint.path for endpoint in ENDPOINTS.values()])
        known = KNOWN if self.rng.random() < 0.4 else {}
        parts = [
            known.get(part[1:-1]) or self.rng.choice(SEGMENTS) if part.startswith("{") else part
            for part in template.split("/")
        ]
        if self.rng.random() < 0.1:
            parts.append(self.rng.choice(SEGMENTS))
        prefix = self.rng.choice(["/v1"] * 20 + ["", "/v2", "//v1"])
        return prefix + "/".join(parts) + self.rng.choice(QUERIES)

    def request(self) -> bytes:
        method = self.rng.choice(METHODS)
        body = self.rng.choice(BODIES)
        lines = [
            f"{method} {self.path()} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            f"Content-Length: {len(body)}",
            *self.headers(),
        ]
        if self.rng.random() < 0.95:
            lines.append(f"Authorization: Bearer {self.token}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body

    def headers(self) -> Iterable[str]:
        chosen = self.rng.sample(HEADERS, k=self.rng.randrange(4))
        # One of a name: aiohttp itself refuses a second Content-Type.
        return {line.partition(":")[0]: line for line in chosen}.values()

    def noise(self) -> bytes:
        """Return bytes that may begin like a request and go on like none."""
        data = bytearray(self.request() if self.rng.random() < 0.7 else b"")
        for _ in range(self.rng.randrange(1, 20)):
            place = self.rng.randrange(len(data) + 1)
            if self.rng.random() < 0.3:
                del data[place : place + self.rng.randrange(40)]
            else:
                data[place:place] = self.rng.randbytes(self.rng.randrange(1, 9))
        return bytes(data)

    async def send(self, data: bytes, *, end: bool = False) -> bytes:
        """Send *data*, and with *end* nothing after it; return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            if end:
                writer.write_eof()
            async with asyncio.timeout(HANG):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def check_alive(self, server: LocalReplicate) -> None:
        async with Replicate(server.api_token, base_url=server.url) as client:
            assert await client.run("local/echo", {"value": "alive"}) == "alive"


def statuses(answer: bytes) -> Sequence[int]:
    """Return the statuses of *answer*, of which an interim one may be the first."""
    found: list[int] = []
    rest = answer
    while rest.startswith(b"HTTP/1."):
        found.append(int(rest[9:12]))
        rest = rest.partition(b"\r\n\r\n")[2]
    return found


@pytest.mark.slow
async def test_odd_requests_get_an_answer_that_is_not_the_servers_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # aiohttp tells of every request that it cannot parse.
    caplog.set_level(logging.CRITICAL, logger="aiohttp.server")
    async with LocalReplicate(settings=SETTINGS) as server:
        fuzz = Fuzz(server, seed=1)
        seen: set[int] = set()
        for _ in range(1000):
            request = fuzz.request()
            answer = await fuzz.send(request)
            found = statuses(answer)
            assert found, request
            assert max(found) < 500, (request, answer)
            seen.update(found)
            head, _, body = answer.partition(b"\r\n\r\n")
            if b"json" in head and body and not head.startswith(b"HTTP/1.1 100"):
                json.loads(body)
        # The requests reach the operations.
        assert {200, 400, 401, 404, 405, 415, 422} <= seen
        await fuzz.check_alive(server)
    assert not [record for record in caplog.records if record.name.startswith("replicate_async")]


async def test_noise_on_the_socket_leaves_the_server_serving(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, logger="aiohttp.server")
    async with LocalReplicate(settings=SETTINGS) as server:
        fuzz = Fuzz(server, seed=2)
        for _ in range(400):
            noise = fuzz.noise()
            answer = await fuzz.send(noise, end=True)
            assert all(status < 500 for status in statuses(answer)), (noise, answer)
        await fuzz.check_alive(server)
    assert not [record for record in caplog.records if record.name.startswith("replicate_async")]


async def test_connections_that_are_dropped_in_the_middle_leave_the_server_serving() -> None:
    async with LocalReplicate(settings=SETTINGS) as server:
        fuzz = Fuzz(server, seed=3)
        for _ in range(150):
            request = fuzz.request()
            _, writer = await asyncio.open_connection("127.0.0.1", fuzz.port)
            writer.write(request[: fuzz.rng.randrange(len(request) + 1)])
            await asyncio.sleep(fuzz.rng.choice((0, 0, 0.001)))
            writer.transport.abort()
        await fuzz.check_alive(server)


async def test_an_expectation_that_is_no_text_is_not_met() -> None:
    async with LocalReplicate(settings=SETTINGS) as server:
        fuzz = Fuzz(server, seed=4)
        head = b"GET /v1/account HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        answer = await fuzz.send(head + b"Expect: \xed\xa0\x80\r\n\r\n")
        assert statuses(answer) == [417]
        await fuzz.check_alive(server)
