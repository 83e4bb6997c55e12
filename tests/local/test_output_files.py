"""Output files over HTTP, asked for by clients that are not ours."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import shutil
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import anyio
import pytest

from replicate_async.local import InputFile, LocalReplicate, OutputFile, Settings
from tests.local.wire import Wire, files_left, header
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * 4096  # a megabyte, which the server keeps on disk
SETTINGS = Settings(stream_linger=0.05, data_retention=3600)


def fetch(
    url: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Ask with the standard library's client, which knows nothing of ours."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=HANG)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"{parts.path}?{parts.query}", headers=named)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


async def make(wire: Wire, data: bytes, name: str = "data.bin", kind: str | None = None) -> str:
    """Have a model make an output file of *data* and return its URL."""

    @wire.server.model(f"acme/make-{len(data)}")
    def predict() -> OutputFile:
        return OutputFile(data, name, kind)

    prediction = await wire.finish(f"acme/make-{len(data)}", {})
    assert prediction["status"] == "succeeded", prediction["error"]
    url = prediction["output"]
    assert isinstance(url, str)
    return url


@pytest.mark.parametrize("data", [b"", b"hello", LARGE], ids=["empty", "small", "large"])
async def test_a_file_is_sent_with_its_length_type_name_and_etag(wire: Wire, data: bytes) -> None:
    url = await make(wire, data, "cat picture.png")

    status, headers, body = await asyncio.to_thread(fetch, url)

    assert (status, body) == (200, data)
    assert headers["Content-Length"] == str(len(data))
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Disposition"] == 'inline; filename="cat picture.png"'
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["ETag"] == f'"{hashlib.sha256(data).hexdigest()[:32]}"'


@pytest.mark.parametrize("data", [b"0123456789", LARGE], ids=["small", "large"])
async def test_a_range_is_answered_with_its_bytes(wire: Wire, data: bytes) -> None:
    url = await make(wire, data)
    size = len(data)
    spans = [(0, 0), (3, 7), (size - 1, size - 1), (size // 2, size + 5)]
    for first, last in spans:
        status, headers, body = await asyncio.to_thread(fetch, url, Range=f"bytes={first}-{last}")
        assert (status, body) == (206, data[first : last + 1])
        assert headers["Content-Range"] == f"bytes {first}-{min(last, size - 1)}/{size}"
        assert headers["Content-Length"] == str(len(body))

    status, _, body = await asyncio.to_thread(fetch, url, Range="bytes=-4")
    assert (status, body) == (206, data[-4:])
    status, headers, body = await asyncio.to_thread(fetch, url, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize("data", [b"0123456789", LARGE], ids=["small", "large"])
async def test_head_sends_the_length_without_a_body(wire: Wire, data: bytes) -> None:
    url = await make(wire, data)

    status, headers, body = await asyncio.to_thread(fetch, url, "HEAD", Range="bytes=0-1")

    assert (status, headers["Content-Length"], body) == (200, str(len(data)), b"")


async def test_an_etag_answers_conditions_and_guards_a_resumed_download(wire: Wire) -> None:
    url = await make(wire, LARGE)
    tag = (await asyncio.to_thread(fetch, url, "HEAD"))[1]["ETag"]

    known = await asyncio.to_thread(fetch, url, If_None_Match=tag)
    resumed = await asyncio.to_thread(fetch, url, Range="bytes=1048570-", If_Range=tag)
    changed = await asyncio.to_thread(fetch, url, Range="bytes=1048570-", If_Range='"other"')
    refused = await asyncio.to_thread(fetch, url, If_Match='"other"')

    assert (known[0], known[1]["ETag"], known[2]) == (304, tag, b"")
    assert (resumed[0], resumed[2]) == (206, LARGE[-6:])
    assert (changed[0], changed[2]) == (200, LARGE)
    assert refused[0] == 412


async def test_curl_resumes_a_cut_download(wire: Wire, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl: apt-get install curl")
    url = await make(wire, LARGE)
    target = tmp_path / "data.bin"
    wire.server.faults.add("delivery", cut_after=300_000)

    async def run() -> int:
        process = await asyncio.create_subprocess_exec(
            curl, "-sS", "-C", "-", "-o", str(target), url, stderr=asyncio.subprocess.DEVNULL
        )
        return await process.wait()

    assert await run() == 18, "a part of the file was transferred"
    assert 0 < target.stat().st_size < 300_000
    assert await run() == 0
    assert target.read_bytes() == LARGE


async def test_a_download_of_an_upload_has_ranges_and_a_name_too(wire: Wire) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="content"; filename="a\\"b.txt"\r\n\r\n'
        b"0123456789\r\n--x--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    file = (await wire.ask("POST", "/files", data=body, headers=kind)).json
    signed = wire.server.sign_download(file["id"], expiry=2**40)
    url = f"/files/{file['id']}/download?{urlencode(signed)}"

    part = await wire.ask("GET", url, headers={"Range": "bytes=2-4"})

    assert (part.status, part.body) == (206, b"234")
    assert header(part, "Content-Disposition") == 'attachment; filename="a_b.txt"'
    assert header(part, "Accept-Ranges") == "bytes"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../x.png", "x.png"),
        ("a b#c?d%20.png", "a%20b%23c_d%2520.png"),
        ("caf\u00e9\r\nX: y.png", "caf%C3%A9X_%20y.png"),
        ("..", "output"),
        ("{name}.png", "%7Bname%7D.png"),
    ],
)
async def test_a_file_of_any_name_can_be_fetched(wire: Wire, name: str, shown: str) -> None:
    url = await make(wire, b"x", name, "image/png\r\nX-Injected: y")

    status, headers, body = await asyncio.to_thread(fetch, url)

    assert url.rpartition("/")[2] == shown
    assert (status, body) == (200, b"x")
    assert headers["Content-Type"] == "application/octet-stream"
    assert "X-Injected" not in headers
    assert headers["Content-Disposition"].isascii()
    reader = await wire.finish("acme/read", {"file": url})
    assert reader["output"] == "x"


async def test_an_hour_after_the_end_a_file_is_removed_from_disk(disk: Path, wire: Wire) -> None:
    url = await make(wire, LARGE)
    (path,) = await files_left(disk, 1)
    assert path.stat().st_size == len(LARGE)

    wire.server.advance(3540)
    assert (await asyncio.to_thread(fetch, url, "HEAD"))[0] == 200
    wire.server.advance(61)

    assert (await asyncio.to_thread(fetch, url))[0] == 404
    assert await files_left(disk) == []


async def test_closing_the_server_removes_its_folder(disk: Path) -> None:
    async with LocalReplicate() as server, Wire(server) as wire:
        await make(wire, LARGE)
        assert len(await files_left(disk, 1)) == 1

    assert [path async for path in anyio.Path(disk).iterdir()] == []


async def test_a_disconnected_client_leaves_no_file_open(wire: Wire) -> None:
    url = await make(wire, LARGE * 8)

    async with wire.session.get(url) as response:
        await response.content.readexactly(10)

    assert (await asyncio.to_thread(fetch, url, Range="bytes=-1"))[0] == 206


async def test_models_get_large_files_as_paths_with_name_and_type(wire: Wire) -> None:
    @wire.server.model("acme/describe")
    def describe(file: InputFile, path: Path) -> dict[str, object]:
        assert file.path is not None
        with file.open() as opened:
            start = opened.read(4)
        return {
            "name": file.name,
            "type": file.content_type,
            "size": file.size,
            "same": file.data == path.read_bytes() and start == LARGE[:4],
            "path": path.name,
        }

    @wire.server.model("acme/pass-on")
    def pass_on(file: InputFile) -> InputFile:
        return file

    url = await make(wire, LARGE, "my data.bin", "application/x-data")
    described = await wire.finish("acme/describe", {"file": url, "path": url})
    passed = await wire.finish("acme/pass-on", {"file": url})

    assert described["output"] == {
        "name": "my data.bin",
        "type": "application/x-data",
        "size": len(LARGE),
        "same": True,
        "path": "my data.bin",
    }
    assert (await asyncio.to_thread(fetch, passed["output"]))[2] == LARGE


class TestEarlyAnswers:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(sync_answer="processing")

    async def test_a_large_file_can_be_inside_an_answer(self, wire: Wire) -> None:
        @wire.server.model("acme/draw-large", official=True)
        def draw() -> list[OutputFile]:
            return [OutputFile(LARGE, "x.png")]

        answer = await wire.ask(
            "POST",
            "/models/acme/draw-large/predictions",
            json={"input": {}},
            headers={"Prefer": "wait"},
        )

        (url,) = answer.json["output"]
        assert url.startswith("data:image/png;base64,AAEC")
