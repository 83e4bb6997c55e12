from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import aiohttp
import anyio
import pytest

from replicate_async.local import InputFile, Settings
from tests.local.transfer import transfer
from tests.local.wire import Answer, Wire, files_left, header

pytestmark = pytest.mark.anyio

NOT_FOUND = {"detail": "File not found"}


async def upload(wire: Wire, content: bytes = b"hello", **fields: str) -> Answer:
    form = aiohttp.FormData()
    form.add_field("content", content, filename="hi.txt", content_type="text/plain")
    for name, value in fields.items():
        form.add_field(name, value)
    return await wire.ask("POST", "/files", data=form)


async def test_a_file_is_kept_for_a_day(wire: Wire) -> None:
    answer = await upload(wire)

    assert answer.status == 201
    assert header(answer, "Content-Type") == "application/json; charset=UTF-8"
    assert header(answer, "ratelimit-remaining") is None
    file = answer.json
    assert re.fullmatch("[0-9a-f-]{36}", base64.urlsafe_b64decode(file["id"]).decode())
    assert (file["name"], file["content_type"], file["size"]) == ("hi.txt", "text/plain", 5)
    assert file["checksums"]["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert file["etag"] == file["checksums"]["md5"]
    assert file["metadata"] == {}
    assert file["urls"] == {"get": f"{wire.server.url}/files/{file['id']}"}
    assert await wire.get(f"/files/{file['id']}") == file
    assert (await wire.get("/files"))["results"] == [file]

    wire.server.advance(24 * 3600 + 1)

    gone = await wire.ask("GET", f"/files/{file['id']}")
    assert (gone.status, gone.json) == (404, NOT_FOUND)
    assert (await wire.get("/files"))["results"] == []


@pytest.mark.parametrize("content_type", [None, "application/json"])
async def test_metadata_comes_with_or_without_a_type(wire: Wire, content_type: str | None) -> None:
    form = aiohttp.FormData()
    form.add_field("content", b"x", filename="x.bin")
    form.add_field("metadata", '{"customer": 3}', content_type=content_type)

    answer = await wire.ask("POST", "/files", data=form)

    assert (answer.status, answer.json["metadata"]) == (201, {"customer": 3})


async def test_fields_override_the_headers_of_the_part(wire: Wire) -> None:
    answer = await upload(wire, filename="other.bin", type="image/png")

    assert (answer.json["name"], answer.json["content_type"]) == ("other.bin", "image/png")


async def test_a_deleted_file_is_gone(wire: Wire) -> None:
    file = (await upload(wire)).json

    deleted = await wire.ask("DELETE", f"/files/{file['id']}")

    assert (deleted.status, deleted.body) == (204, b"")
    assert header(deleted, "Content-Type") == "text/plain; charset=UTF-8"
    assert (await wire.ask("DELETE", f"/files/{file['id']}")).json == NOT_FOUND


async def test_files_belong_to_their_account(wire: Wire) -> None:
    file = (await upload(wire)).json
    stranger = wire.server.add_account("eve")

    for method in ("GET", "DELETE"):
        answer = await wire.ask(method, f"/files/{file['id']}", token=stranger)
        assert (answer.status, answer.json) == (404, NOT_FOUND)


async def test_a_download_needs_its_signature(wire: Wire) -> None:
    file = (await upload(wire)).json
    signed = wire.server.sign_download(file["id"], expiry=int(time.time()) + 60)
    path = f"/files/{file['id']}/download"

    answer = await wire.ask("GET", f"{path}?{urlencode(signed)}")

    assert (answer.status, answer.body) == (200, b"hello")
    assert header(answer, "Content-Type") == "application/octet-stream"
    assert header(answer, "X-Content-Type-Options") == "nosniff"
    for change in (
        {"signature": "x"},
        {"signature": "é"},
        {"expiry": "9" * 15},
        {"expiry": "-1"},
        {"owner": "eve"},
    ):
        refused = await wire.ask("GET", f"{path}?{urlencode(signed | change)}")
        assert (refused.status, refused.json) == (404, NOT_FOUND)
    wire.server.advance(61)
    assert (await wire.ask("GET", f"{path}?{urlencode(signed)}")).status == 404


async def test_a_model_reads_an_upload_by_its_url(wire: Wire) -> None:
    file = (await upload(wire)).json

    prediction = await wire.finish("acme/read", {"file": file["urls"]["get"]})

    assert prediction["output"] == "hello"


async def test_a_model_reads_the_output_of_another(wire: Wire) -> None:
    drawn = await wire.finish("acme/draw", {"text": "hello"})

    prediction = await wire.finish("acme/read", {"file": drawn["output"][0]})

    assert prediction["output"] == "hello"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/x",
        "http://[::ffff:10.0.0.1]/x",
        "https://example.com/x.png",
        "http://2130706433/x",
        "file:///etc/passwd",
        "data:;base64,*",
        "data:",
    ],
)
async def test_file_inputs_of_other_hosts_are_refused(wire: Wire, url: str) -> None:
    version = (await wire.get("/models/acme/read"))["latest_version"]["id"]
    created = await wire.ask(
        "POST", "/predictions", json={"version": version, "input": {"file": url}}
    )

    if created.status == 201:
        assert (await wire.ended(created.json["id"]))["status"] == "failed"
    else:
        assert created.status == 422


async def test_a_file_of_another_account_is_no_input(wire: Wire) -> None:
    stranger = wire.server.add_account("eve")
    form = aiohttp.FormData()
    form.add_field("content", b"secret", filename="x")
    url = (await wire.ask("POST", "/files", data=form, token=stranger)).json["urls"]["get"]

    prediction = await wire.finish("acme/read", {"file": url})

    assert (prediction["status"], prediction["output"]) == ("failed", None)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "multipart/form-data; boundary=x", 400),
        (b"garbage", "multipart/form-data; boundary=x", 400),
        (b"--x--\r\n", "multipart/form-data", 400),
        (b"{}", "application/json", 415),
        (
            b'--x\r\nContent-Disposition: form-data; name="content"\r\n\r\nhello',
            "multipart/form-data; boundary=x",
            400,
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n[]\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            400,
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="content"\r\n\r\nhello\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            201,
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="content\0"\r\n\r\nhello\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            400,
        ),
    ],
)
async def test_invalid_forms_are_refused(wire: Wire, body: bytes, kind: str, status: int) -> None:
    answer = await wire.ask("POST", "/files", data=body, headers={"Content-Type": kind})

    assert answer.status == status, answer.text


class TestSmallFiles:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(max_file=1_000_000, max_body=1000)

    async def test_a_file_can_be_too_large(self, wire: Wire) -> None:
        answer = await upload(wire, b"x" * 1_000_000)

        assert answer.status == 413
        assert answer.json == {"detail": "Files must be less than 1MB in size"}

    async def test_a_body_can_be_too_large(self, wire: Wire) -> None:
        body: dict[str, object] = {"version": "x" * 1000, "input": {}}

        answer = await wire.ask("POST", "/predictions", json=body)

        assert answer.status == 413


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "C:\\x", "é" * 200])
async def test_a_filename_is_kept_as_it_is(wire: Wire, name: str) -> None:
    answer = await upload(wire, filename=name)

    if len(name.encode()) > 255:
        assert answer.status == 400
    else:
        assert answer.json["name"] == name
        assert (await wire.ask("GET", f"/files/{answer.json['id']}")).status == 200


def multipart(size: int) -> tuple[bytes, bytes, int]:
    """Return the bytes around a file of *size* bytes in a form, and the length of the form."""
    head = b'--x\r\nContent-Disposition: form-data; name="content"; filename="large.bin"\r\n\r\n'
    tail = b"\r\n--x--\r\n"
    return head, tail, len(head) + size + len(tail)


async def send(wire: Wire, size: int, *, length: bool = True) -> tuple[bytes, int]:
    """Upload zeros by hand, until there is an answer; return it and how many were taken."""
    head, tail, total = multipart(size)
    parts = urlsplit(wire.server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    framing = f"Content-Length: {total}" if length else "Transfer-Encoding: chunked"
    lines = [
        "POST /v1/files HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Authorization: Bearer {wire.server.api_token}",
        "Content-Type: multipart/form-data; boundary=x",
        framing,
    ]
    answer = asyncio.create_task(reader.readuntil(b"}"))
    sent = 0

    async def write(data: bytes) -> None:
        writer.write(data if length else b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()

    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await write(head)
        block = bytes(64 * 1024)
        while sent < size and not answer.done():
            await write(block)
            sent += len(block)
        if not answer.done():
            await write(tail)
            writer.write(b"" if length else b"0\r\n\r\n")
        return await answer, sent
    finally:
        answer.cancel()
        writer.close()


class TestTooLarge:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(max_file=1_000_000)

    async def test_a_body_of_known_length_is_refused_before_it_is_read(self, wire: Wire) -> None:
        answer, sent = await send(wire, 4_000_000_000)

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b'{"detail":"Files must be less than 1MB in size"}')
        assert sent < 100_000_000

    async def test_a_body_of_unknown_length_is_refused_while_it_is_read(self, wire: Wire) -> None:
        answer, sent = await send(wire, 4_000_000_000, length=False)

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert sent < 100_000_000
        assert (await wire.get("/files"))["results"] == []

    async def test_the_largest_allowed_file_is_kept(self, wire: Wire) -> None:
        answer = await upload(wire, b"x" * 999_999)

        assert (answer.status, answer.json["size"]) == (201, 999_999)
        assert answer.json["checksums"]["md5"] == hashlib.md5(b"x" * 999_999).hexdigest()


async def test_a_large_upload_is_on_disk_until_it_is_deleted_or_expires(
    disk: Path, wire: Wire
) -> None:
    first = (await upload(wire, b"x" * 200_000)).json
    await upload(wire, b"y" * 200_000)
    assert len(await files_left(disk, 2)) == 2

    await wire.ask("DELETE", f"/files/{first['id']}")
    assert len(await files_left(disk, 1)) == 1
    wire.server.advance(24 * 3600 + 1)

    assert await files_left(disk) == []


async def test_an_aborted_upload_leaves_no_file(disk: Path, wire: Wire) -> None:
    head, _, total = multipart(50_000_000)
    parts = urlsplit(wire.server.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
        + wire.server.api_token.encode()
        + b"\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        + f"Content-Length: {total}\r\n\r\n".encode()
        + head
        + bytes(5_000_000)
    )
    while not await files_left(disk, 1):  # noqa: ASYNC110 - a thread writes it
        await asyncio.sleep(0.01)
    writer.close()

    assert await files_left(disk) == []
    assert (await wire.get("/files"))["results"] == []


async def test_a_full_disk_is_answered_with_507(disk: Path, wire: Wire) -> None:
    await anyio.Path(disk).rmdir()

    answer = await upload(wire, b"x" * 200_000)

    assert (answer.status, answer.json["status"]) == (507, 507)
    assert answer.json["detail"] == "The server cannot keep the file: No such file or directory"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (2 * [("content", b"x")], "two files"),
        ([("metadata", b"x" * 70_000)], "too large"),
        ([(f"field-{number}", b"x") for number in range(101)], "too many parts"),
    ],
)
async def test_forms_are_bounded(wire: Wire, parts: list[tuple[str, bytes]], words: str) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in parts:
        form.add_field(name, value, filename="x")

    answer = await wire.ask("POST", "/files", data=form)

    assert answer.status == 400
    assert words in answer.json["detail"]


async def test_a_form_inside_a_form_is_refused(wire: Wire) -> None:
    body = (
        b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n"
        b"--y\r\n\r\nhello\r\n--y--\r\n\r\n--x--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}

    answer = await wire.ask("POST", "/files", data=body, headers=kind)

    assert (answer.status, "form itself" in answer.json["detail"]) == (400, True)


async def test_a_name_and_a_type_that_are_no_unicode_are_replaced(wire: Wire) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="content"; filename="caf\xe9.txt"\r\n'
        b"Content-Type: text/\xff\r\n\r\nhello\r\n--x--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}

    stored = (await wire.ask("POST", "/files", data=body, headers=kind)).json
    listed = (await wire.ask("GET", "/files")).json["results"]

    assert (stored["name"], stored["content_type"]) == ("caf\ufffd.txt", "text/\ufffd")
    assert listed == [stored]
    assert await wire.finish("local/echo", {"value": stored["urls"]["get"]})


async def test_a_model_gets_name_and_type_of_an_upload(wire: Wire) -> None:
    @wire.server.model("acme/describe")
    def describe(file: InputFile) -> list[str | None]:
        return [file.name, file.content_type, repr(file)]

    url = (await upload(wire, b"x" * 100_000)).json["urls"]["get"]

    described = (await wire.finish("acme/describe", {"file": url}))["output"]
    assert described[:2] == ["hi.txt", "text/plain"]


async def test_neither_an_upload_nor_a_download_is_whole_in_memory() -> None:
    # The long proof, with 300 MB, is tests/soak/files.py.
    measured = await transfer(48_000_000)

    assert measured.same, measured
    assert measured.grown < 16_384, measured
