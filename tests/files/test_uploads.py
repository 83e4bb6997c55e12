"""Files on their way into a model, through the embedded server."""

from __future__ import annotations

import asyncio
import hashlib
import io
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from replicate_async import (
    FileEncoding,
    FileOutput,
    InvalidArgumentError,
    NotFoundError,
    PredictionFailed,
    Replicate,
    UnprocessableEntityError,
)
from replicate_async.local import InputFile, LocalReplicate, OutputFile
from tests.files.sending import measure
from tests.support.replies import VERSION_ID

pytestmark = pytest.mark.anyio

SMALL = b"\x89PNG\r\n\x1a\n" + bytes(1000)
LARGE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1200
ENCODINGS: list[FileEncoding] = ["auto", "upload", "data-url"]


def told(content: bytes) -> str:
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def model(server: LocalReplicate) -> str:
    """A model that describes each of its files."""

    @server.model("acme/look")
    def look(files: list[InputFile]) -> list[str]:
        return [told(file.data) for file in files]

    return "acme/look"


async def uploads(client: Replicate) -> list[Any]:
    return [file async for file in client.files.list()]


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]


def every_kind(path: Path, content: bytes) -> dict[str, object]:
    path.write_bytes(content)
    opened = io.BytesIO(b"skipped" + content if content else b"")
    opened.seek(7 if content else 0)
    return {
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "Path": path,
        "anyio.Path": anyio.Path(path),
        "open file": path.open("rb"),
        "BytesIO": opened,
        "iterator": pieces(content),
    }


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
async def test_every_kind_of_file_arrives_complete(
    client: Replicate, model: str, tmp_path: Path, content: bytes, encoding: FileEncoding
) -> None:
    given = every_kind(tmp_path / "a.png", content)

    said = await client.run(model, {"files": list(given.values())}, file_encoding=encoding)

    assert dict(zip(given, said, strict=True)) == dict.fromkeys(given, told(content))
    uploaded = encoding == "upload" or (encoding == "auto" and content is LARGE)
    assert len(await uploads(client)) == (len(given) if uploaded else 0)
    for value in given.values():
        if isinstance(value, io.IOBase):
            value.close()


async def test_an_upload_has_name_and_type(client: Replicate, tmp_path: Path) -> None:
    (tmp_path / "cat picture.png").write_bytes(SMALL)
    given = {"value": [tmp_path / "cat picture.png", SMALL, io.BytesIO(b"words"), b"\xff\xd8\xff"]}

    await client.run("local/echo", given, file_encoding="upload")

    assert sorted((file.name, file.content_type) for file in await uploads(client)) == [
        ("cat picture.png", "image/png"),
        ("file", "application/octet-stream"),
        ("file.jpg", "image/jpeg"),
        ("file.png", "image/png"),
    ]


async def test_a_data_url_has_the_type_of_its_file(client: Replicate, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"words")

    said = await client.run("local/echo", {"value": [tmp_path / "notes.txt"]}, files=False)

    assert said == [f"data:text/plain;base64,{b64encode(b'words').decode()}"]


@pytest.mark.parametrize(
    ("name", "arrives"),
    [
        ('say "hi".txt', 'say "hi".txt'),
        ("ça va, 日本語.txt", "ça va, 日本語.txt"),
        ("back\\slash;a=b.txt", "back\\slash;a=b.txt"),
        ("line\nbreak\r.txt", "line_break_.txt"),
        ("x" * 251 + ".txt", "x" * 251 + ".txt"),
        ("é" * 125 + ".bin", "é" * 125 + ".bin"),
        (" ", " "),
        ("%22%0A.txt", "%22%0A.txt"),
    ],
)
async def test_a_file_of_any_name_arrives(
    client: Replicate, tmp_path: Path, name: str, arrives: str
) -> None:
    (tmp_path / name).write_bytes(b"x")

    await client.run("local/echo", {"value": tmp_path / name}, file_encoding="upload")

    assert [file.name for file in await uploads(client)] == [arrives]


@dataclass
class Shot:
    image: Path
    mask: bytes


async def test_nested_files_are_sent(client: Replicate, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(LARGE)
    given = {"value": {"shots": [Shot(tmp_path / "a.png", LARGE)], "words": "plain"}}

    said = await client.run("local/echo", given, files=False)

    sent = {file.name: file.urls.get for file in await uploads(client)}
    assert said == {
        "shots": [{"image": sent["a.png"], "mask": sent["file.png"]}],
        "words": "plain",
    }


async def test_the_same_file_twice_is_uploaded_once(
    client: Replicate, model: str, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(LARGE)
    opened = io.BytesIO(LARGE)
    given = [tmp_path / "a.png", opened, tmp_path / "a.png", opened]

    assert await client.run(model, {"files": given}) == [told(LARGE)] * 4
    assert len(await uploads(client)) == 2


async def test_an_output_file_is_sent_as_input(
    server: LocalReplicate, client: Replicate, model: str
) -> None:
    @server.model("acme/draw")
    def draw() -> OutputFile:
        return OutputFile(SMALL, name="a.png", content_type="image/png")

    drawn = await client.run("acme/draw", {})

    assert isinstance(drawn, FileOutput)
    assert await client.run(model, {"files": [drawn]}) == [told(SMALL)]
    assert await uploads(client) == []


Create = Callable[[Replicate, dict[str, object]], Any]

CREATES: dict[str, Create] = {
    "predictions": lambda c, i: c.predictions.create("local/echo", i, file_encoding="upload"),
    "models": lambda c, i: c.models.predictions.create("local/echo", i, file_encoding="upload"),
}


@pytest.mark.parametrize("name", CREATES)
async def test_creates_take_files(client: Replicate, name: str) -> None:
    made = await CREATES[name](client, {"value": SMALL})

    [file] = await uploads(client)
    assert made.input == {"value": file.urls.get}


async def test_a_stream_takes_files(client: Replicate, server: LocalReplicate) -> None:
    @server.model("acme/size")
    def size(file: InputFile) -> AsyncIterator[str]:
        async def say() -> AsyncIterator[str]:
            yield str(len(file.data))

        return say()

    async with client.stream("acme/size", {"file": LARGE}) as stream:
        assert (await stream.final()).status == "succeeded"
    assert len(await uploads(client)) == 1


async def test_delete_uploads_deletes_after_the_run(client: Replicate, model: str) -> None:
    said = await client.run(model, {"files": [LARGE, SMALL]}, delete_uploads=True)

    assert said == [told(LARGE), told(SMALL)]
    assert await uploads(client) == []


async def test_delete_uploads_deletes_after_a_failed_run(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/fail")
    def fail(file: InputFile) -> str:
        raise ValueError(len(file.data))

    with pytest.raises(PredictionFailed):
        await client.run("acme/fail", {"file": LARGE}, delete_uploads=True)

    assert await uploads(client) == []


async def test_a_delete_that_fails_does_not_fail_the_run(
    server: LocalReplicate, client: Replicate, model: str
) -> None:
    server.faults.add("files.delete", status=500)

    assert await client.run(model, {"files": [LARGE]}, delete_uploads=True) == [told(LARGE)]


@pytest.mark.parametrize("ref", ["acme/unknown", f"acme/unknown:{VERSION_ID}"])
async def test_uploads_for_a_refused_create_are_deleted(client: Replicate, ref: str) -> None:
    with pytest.raises((NotFoundError, UnprocessableEntityError)):
        await client.predictions.create(ref, {"value": LARGE})

    assert await uploads(client) == []


@pytest.mark.parametrize("ref", ["acme/unknown", f"acme/unknown:{VERSION_ID}"])
async def test_uploads_for_a_refused_run_are_deleted(client: Replicate, ref: str) -> None:
    with pytest.raises((NotFoundError, UnprocessableEntityError)):
        await client.run(ref, {"value": LARGE})
    with pytest.raises((NotFoundError, UnprocessableEntityError)):
        async with client.stream(ref, {"value": LARGE}):
            pass

    assert await uploads(client) == []


async def test_a_community_model_gets_the_uploads_of_the_first_try(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/community", official=False)
    def say(file: InputFile) -> str:
        return told(file.data)

    assert await client.run("acme/community", {"file": pieces(LARGE)}) == told(LARGE)
    assert len(await uploads(client)) == 1


async def test_delete_uploads_deletes_after_a_cancellation(
    server: LocalReplicate, client: Replicate
) -> None:
    started = asyncio.Event()

    @server.model("acme/hang")
    async def hang(file: InputFile) -> str:
        started.set()
        await asyncio.sleep(60)
        return file.name

    running = asyncio.create_task(client.run("acme/hang", {"file": LARGE}, delete_uploads=True))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await uploads(client) == []


Mistake = Literal["missing", "folder", "text", "closed", "str", "large", "option", "ref"]


@pytest.mark.parametrize(
    "mistake", ["missing", "folder", "text", "closed", "str", "large", "option", "ref"]
)
async def test_nothing_is_uploaded_when_one_file_is_invalid(
    client: Replicate, tmp_path: Path, mistake: Mistake
) -> None:
    (tmp_path / "notes.txt").write_bytes(b"words")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(100_000_001)

    async def text() -> AsyncIterator[str]:
        yield "words"

    closed = io.BytesIO()
    closed.close()
    with (tmp_path / "notes.txt").open() as opened:
        wrong: dict[Mistake, object] = {
            "missing": tmp_path / "none",
            "folder": tmp_path,
            "text": opened,
            "closed": closed,
            "str": text(),
            "large": tmp_path / "huge",
        }
        value = [LARGE, wrong.get(mistake, SMALL)]
        with pytest.raises(InvalidArgumentError) as caught:
            await client.run(
                "echo" if mistake == "ref" else "local/echo",
                {"value": value},
                webhook="ftp://x.test" if mistake == "option" else None,
            )

    if mistake in wrong:
        assert str(caught.value).startswith('input["value"][1]')
    assert await uploads(client) == []
    assert [run async for run in client.predictions.list()] == []


async def test_a_file_that_is_too_large_is_named_with_its_size(
    client: Replicate, tmp_path: Path
) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(100_000_001)

    for call in (
        client.run("local/echo", {"value": tmp_path / "huge"}),
        client.files.create(tmp_path / "huge"),
    ):
        with pytest.raises(InvalidArgumentError, match="holds 100,000,001 bytes, more than the"):
            await call


async def test_more_than_ten_megabytes_of_data_urls_are_refused(client: Replicate) -> None:
    given = {"value": [bytes(1_000_000) for _ in range(11)]}

    with pytest.raises(InvalidArgumentError) as caught:
        await client.run("local/echo", given, file_encoding="data-url")

    assert str(caught.value) == (
        'input["value"][10] makes 11,000,000 bytes in data URLs; the API takes 10,000,000 in an '
        'input. Leave out file_encoding="data-url" to have it uploaded.'
    )


async def test_an_exception_of_an_iterator_is_the_cause_of_the_error(
    client: Replicate,
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield LARGE
        raise LookupError("the disk is gone")

    with pytest.raises(InvalidArgumentError) as caught:
        await client.run("local/echo", {"value": [LARGE, broken()]})

    assert str(caught.value) == 'input["value"][1] cannot be read: LookupError: the disk is gone.'
    assert isinstance(caught.value.__cause__, LookupError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert [run async for run in client.predictions.list()] == []


async def test_sending_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    measured = await measure(tmp_path / "large.bin", 32_000_000)

    assert sorted(measured) == ["iterator", "open file", "path"]
    for found in measured.values():
        assert found.arrived > 32_000_000
        assert found.grown < 16_384
