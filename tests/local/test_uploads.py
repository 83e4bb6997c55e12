from __future__ import annotations

import base64
import hashlib
import re
import time
from urllib.parse import urlencode

import aiohttp
import pytest

from replicate_async.local import Settings
from tests.local.wire import Answer, Wire, header

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


async def test_fields_go_before_what_the_part_says(wire: Wire) -> None:
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
async def test_file_inputs_lead_nowhere_else(wire: Wire, url: str) -> None:
    version = (await wire.get("/models/acme/read"))["latest_version"]["id"]
    created = await wire.ask(
        "POST", "/predictions", json={"version": version, "input": {"file": url}}
    )

    if created.status == 201:
        assert (await wire.ended(created.json["id"]))["status"] == "failed"
    else:
        assert created.status == 422


async def test_files_of_others_are_no_inputs(wire: Wire) -> None:
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
    ],
)
async def test_bad_forms_are_refused(wire: Wire, body: bytes, kind: str, status: int) -> None:
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
async def test_names_are_only_names(wire: Wire, name: str) -> None:
    answer = await upload(wire, filename=name)

    if len(name.encode()) > 255:
        assert answer.status == 400
    else:
        assert answer.json["name"] == name
        assert (await wire.ask("GET", f"/files/{answer.json['id']}")).status == 200
