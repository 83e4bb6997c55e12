"""Bodies that are well framed and still not what the API documents."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Final

import pytest

from replicate_async.errors import APIConnectionError, DecodeError, ReplicateError, ServerError
from tests.faults.calls import ALL, ONCE, after, client_of
from tests.support.fault_server import FaultServer, script
from tests.support.replies import prediction
from tests.support.sentinel import TOKEN, caught
from tests.support.waiting import HANG
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

ROOT: Final = Path(__file__).parents[2]
JSON: Final = (("Content-Type", "application/json"),)
HTML: Final = (("Content-Type", "text/html; charset=utf-8"),)
WHOLE: Final = json.dumps(prediction("http://127.0.0.1/v1")).encode()

UNREADABLE: Final = {
    "nothing": b"",
    "a space": b" ",
    "half": WHOLE[: len(WHOLE) // 2],
    "null": b"null",
    "a list": b"[]",
    "a string": b'"prediction"',
    "a number": b"1",
    "an empty object": b"{}",
    "no id": WHOLE.replace(b'"id"', b'"ID"'),
    "an id of the wrong type": WHOLE.replace(b'"id": "', b'"id": 1, "x": "'),
    "two values": WHOLE + WHOLE,
    "trailing junk": WHOLE + b"x",
    "a trailing comma": WHOLE[:-1] + b",}",
    "single quotes": WHOLE.replace(b'"', b"'"),
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "a thousand brackets": WHOLE.replace(b'"Hello."', b"[" * 1000),
    "a hundred thousand brackets": WHOLE.replace(b'"Hello."', b"[" * 100_000),
    "a hundred thousand closed brackets": WHOLE.replace(
        b'"Hello."', b"[" * 100_000 + b"]" * 100_000
    ),
    "a hundred thousand objects": WHOLE.replace(b'"Hello."', b'{"a":' * 100_000),
    "deep brackets in an unknown field": WHOLE[:-1]
    + b', "new": '
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}",
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_body_that_cannot_be_read_is_a_decode_error(name: str) -> None:
    answer = Answer(headers=JSON, body=UNREADABLE[name])
    async with FaultServer(script(answer)) as server, client_of(server) as client:
        with caught(DecodeError) as found:
            await client.predictions.get("abc")

    assert found.error.status == 200
    assert found.error.content_type == "application/json"
    assert len(found.error.snippet) <= 200
    assert len(str(found.error)) < 1000
    assert len(server.requests) == 1  # it would come out the same


UNUSUAL: Final = {
    "unknown fields": WHOLE[:-1] + b', "new": {"deep": [1]}}',
    "a year of five digits": WHOLE.replace(b"2026-", b"12026-"),
    "an unknown status": WHOLE.replace(b'"succeeded"', b'"resting"'),
    "a key twice": WHOLE[:-1] + b', "model": "acme/again"}',
    "no urls": WHOLE.replace(b'"urls"', b'"URLS"'),
    "urls null": b'{"id": "a", "status": "starting", "urls": null}',
    "NaN": WHOLE.replace(b"0.1", b"NaN"),
    "invalid UTF-8": WHOLE.replace(b"Hello", b"\xff\xfe"),
    "a lone continuation": WHOLE.replace(b"Hello", b"\x80"),
    "a raw line break in a string": WHOLE.replace(b"Hello", b"a\nb"),
    "a lone surrogate": WHOLE.replace(b"Hello", b"\\ud800"),
    "a byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "a number beyond all doubles": WHOLE.replace(b"0.1", b"1e400"),
    "an integer of a thousand digits": WHOLE.replace(b"0.1", b"9" * 1000),
    "spaces around": b"\r\n\t " + WHOLE + b" \n",
}


@pytest.mark.parametrize("name", UNUSUAL)
async def test_an_unusual_body_is_read(name: str) -> None:
    answer = Answer(headers=JSON, body=UNUSUAL[name])
    async with FaultServer(script(answer)) as server, client_of(server) as client:
        found = await client.predictions.get("abc")

    assert found.id


@pytest.mark.parametrize("name", ["NaN", "a lone surrogate", "invalid UTF-8", "no urls"])
async def test_a_run_with_an_odd_field_gives_its_output_and_its_page(name: str) -> None:
    odd = UNUSUAL[name].replace(b"http://127.0.0.1/v1", b"")
    page = b'{"next": null, "previous": null, "results": [' + odd + b", " + WHOLE + b"]}"

    def handler(request: Request) -> Answer:
        listed = request.method == "GET" and request.path.endswith("/predictions")
        return Answer(headers=JSON, body=page if listed else odd)

    async with FaultServer(handler) as server, client_of(server) as client:
        output = await client.run("acme/thing", {}, wait=False)
        listed = [each async for each in client.predictions.list()]

    assert len(listed) == 2
    assert "cancel" not in "".join(request.target for request in server.requests)
    if name == "a lone surrogate":
        assert output == "\N{REPLACEMENT CHARACTER}."


@pytest.mark.parametrize("name", sorted(set(ALL) - {"models.readme.get", "files.download"}))
async def test_html_with_status_200_is_never_taken_for_a_value(name: str) -> None:
    page = b"<!doctype html><title>Sign in</title><script>alert(1)</script>"
    answer = Answer(headers=HTML, body=page)
    async with FaultServer(script(answer)) as server, client_of(server) as client:
        if name.endswith("delete"):
            return  # nothing is read of those
        with caught(DecodeError) as found:
            await ALL[name](client)

    assert found.error.content_type == "text/html; charset=utf-8"
    assert "Sign in" in found.error.snippet


async def test_html_with_an_error_status_is_a_readable_status_error() -> None:
    page = b"<html><head><title>502 Bad Gateway</title></head><body>\x1b[31m</body></html>"
    answer = Answer(status=502, headers=HTML, body=page)
    async with FaultServer(script(answer)) as server, client_of(server, retry=ONCE) as client:
        with caught(ServerError) as found:
            await client.predictions.get("abc")

    assert "502" in str(found.error)
    assert "\x1b" not in str(found.error)
    assert "<html>" not in str(found.error)


async def test_control_characters_of_a_body_are_not_printed() -> None:
    answer = Answer(headers=JSON, body=b"\x1b]0;owned\x07\x1b[2J\r\n\x00not json\xe2\x80\xae")
    async with FaultServer(script(answer)) as server, client_of(server) as client:
        with caught(DecodeError) as found:
            await client.predictions.get("abc")

    assert (str(found.error) + found.error.snippet).isprintable()


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_a_token_that_the_server_echoes_is_not_shown(status: int) -> None:
    echo = f'{{"detail": "bad token {TOKEN}", "Authorization": "Bearer {TOKEN}"}}'.encode()
    answer = Answer(status=status, headers=JSON, body=echo)
    async with FaultServer(script(answer)) as server, client_of(server, retry=ONCE) as client:
        with caught(ReplicateError):
            await client.predictions.get("abc")


@pytest.mark.parametrize("status", [202, 203, 206, 226])
async def test_an_undocumented_success_is_read_all_the_same_or_refused(status: int) -> None:
    answer = Answer(status=status, headers=JSON, body=WHOLE)
    async with FaultServer(script(answer)) as server, client_of(server) as client:
        try:
            found = await client.predictions.get("abc")
        except ReplicateError:
            return

    assert found.id


@pytest.mark.parametrize("status", [204, 304, 305, 418])
async def test_a_status_without_a_value_is_typed(status: int) -> None:
    async with FaultServer(script(Answer(status=status))) as server, client_of(server) as client:
        with caught(ReplicateError):
            await client.predictions.get("abc")


ENCODINGS: Final = {
    "gzip": zlib.compress(WHOLE, wbits=31),
    "deflate": zlib.compress(WHOLE),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_compressed_body_is_read(encoding: str) -> None:
    headers = (*JSON, ("Content-Encoding", encoding))
    answer = Answer(headers=headers, body=ENCODINGS[encoding])
    async with FaultServer(script(answer)) as server, client_of(server) as client:
        assert (await client.predictions.get("abc")).id


@pytest.mark.parametrize("cut", [0, 1, 10, 30, -40])
async def test_a_compressed_body_that_is_cut_is_typed(cut: int) -> None:
    headers = (*JSON, ("Content-Encoding", "gzip"))
    answer = Answer(headers=headers, body=ENCODINGS["gzip"][:cut])
    async with FaultServer(script(answer)) as server, client_of(server, retry=ONCE) as client:
        with caught(ReplicateError) as found:
            await client.predictions.get("abc")

    assert isinstance(found.error, APIConnectionError | DecodeError)


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "rot13"])
async def test_an_encoding_that_was_not_asked_for_is_typed(encoding: str) -> None:
    headers = (*JSON, ("Content-Encoding", encoding))
    answer = Answer(headers=headers, body=b"\x00\x01\x02" * 50)
    async with FaultServer(script(answer)) as server, client_of(server, retry=ONCE) as client:
        with caught(ReplicateError) as found:
            await client.predictions.get("abc")

    assert isinstance(found.error, APIConnectionError | DecodeError)


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 3_000_000])
async def test_large_bodies_arrive_whole(size: int) -> None:
    data = random.Random(size).randbytes(size)
    async with after() as server, client_of(server) as client:
        await client.files.create(data, filename="large.bin")
        await client.models.predictions.create("acme/echo", {"text": "x" * size})

    upload, created = server.requests
    assert data in upload.body
    assert created.json() == {"input": {"text": "x" * size}}


BOMB: Final = """
from __future__ import annotations

import asyncio, json, resource, sys, zlib
from replicate_async.errors import ReplicateError
from tests.faults.calls import ONCE, client_of
from tests.support.fault_server import FaultServer
from tests.support.wire import Answer, Request

MIB = 1 << 20
kind = sys.argv[1]


def bomb():
    wbits = {"gzip": 31, "deflate": 15}[kind.split()[0]]
    squeezed = zlib.compressobj(9, wbits=wbits)
    yield squeezed.compress(b'{"id": "') + squeezed.flush(zlib.Z_FULL_FLUSH)
    block = squeezed.compress(bytes(8 * MIB)) + squeezed.flush(zlib.Z_FULL_FLUSH)
    for _ in range(64):
        yield block


def handler(request):
    status = 500 if kind.endswith("error") else 200
    headers = (("Content-Encoding", kind.split()[0]), ("Content-Type", "application/json"))
    return Answer(status=status, headers=headers, framing="close", source=bomb)


async def main():
    async with FaultServer(handler) as server, client_of(server, retry=ONCE) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with asyncio.timeout(60):
            try:
                await client.predictions.get("abc")
                outcome = "answered"
            except ReplicateError as error:
                outcome = type(error).__name__
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"outcome": outcome, "grown": grown // 1024}))


asyncio.run(main())
"""


@pytest.mark.parametrize(
    "kind",
    [
        "gzip",
        pytest.param("deflate", marks=pytest.mark.slow),
        pytest.param("gzip error", marks=pytest.mark.slow),
    ],
)
def test_half_a_gigabyte_in_half_a_megabyte_is_given_up(kind: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", BOMB, kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG,
    )

    found = json.loads(run.stdout)
    assert found["outcome"] in {"DecodeError", "ServerError"}
    # The cap is 64 MiB, and a growing buffer takes up to twice its content.
    assert found["grown"] <= 128
