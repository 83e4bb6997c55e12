from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from replicate_async import (
    AmbiguousCreateError,
    ContentTooLargeError,
    File,
    FileOutput,
    InvalidArgumentError,
    NotFoundError,
    Replicate,
)
from replicate_async.local import LocalReplicate, Settings
from tests.support.embedded import embedded

pytestmark = pytest.mark.anyio

LATER = 4_000_000_000


async def content_of(server: LocalReplicate, client: Replicate, file: File) -> bytes:
    query = server.sign_download(file.id, expiry=LATER)
    return await client.files.download(
        file.id, owner=query["owner"], expiry=LATER, signature=query["signature"]
    )


async def test_bytes_are_uploaded_with_name_type_and_metadata(
    server: LocalReplicate, client: Replicate
) -> None:
    file = await client.files.create(
        b"a,b\n1,2\n", filename="table.csv", type="text/csv", metadata={"rows": 1, "tags": ["x"]}
    )

    assert (file.name, file.content_type, file.size) == ("table.csv", "text/csv", 8)
    assert file.metadata == {"rows": 1, "tags": ["x"]}
    assert file.checksums is not None
    assert file.checksums.sha256 == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert file.created_at is not None
    assert file.expires_at is not None
    assert file.expires_at - file.created_at == timedelta(hours=24)
    assert file.urls.get == f"{server.url}/files/{file.id}"
    assert await client.files.get(file.id) == file
    assert await content_of(server, client, file) == b"a,b\n1,2\n"


@pytest.mark.parametrize("content", [b"", b"\x00\xff\r\n--", bytes(range(256)) * 4096])
async def test_any_bytes_arrive_unchanged(
    server: LocalReplicate, client: Replicate, content: bytes
) -> None:
    file = await client.files.create(content)

    assert (file.name, file.content_type) == ("file", "application/octet-stream")
    assert file.metadata == {}
    assert await content_of(server, client, file) == content


async def test_a_path_gives_its_name_and_type(
    server: LocalReplicate, client: Replicate, tmp_path: Path
) -> None:
    path = tmp_path / "cat picture.png"
    path.write_bytes(b"\x89PNG" * 1000)

    file = await client.files.create(path)

    assert (file.name, file.content_type) == ("cat picture.png", "image/png")
    assert await content_of(server, client, file) == b"\x89PNG" * 1000


async def test_an_open_file_is_read_from_where_it_stands(
    server: LocalReplicate, client: Replicate, tmp_path: Path
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"skip this, keep that")
    with path.open("rb") as opened:
        opened.seek(11)

        file = await client.files.create(opened)

    assert (file.name, file.content_type) == ("notes.txt", "text/plain")
    assert await content_of(server, client, file) == b"keep that"


async def test_a_file_in_memory_has_no_name_of_its_own(
    server: LocalReplicate, client: Replicate
) -> None:
    file = await client.files.create(io.BytesIO(b"abc"))

    assert file.name == "file"
    assert await content_of(server, client, file) == b"abc"


async def test_a_temporary_file_is_read_like_any_other(
    server: LocalReplicate, client: Replicate
) -> None:
    with tempfile.NamedTemporaryFile(suffix=".txt") as opened:
        opened.write(b"cut: whole")
        opened.seek(5)

        file = await client.files.create(cast("BinaryIO", opened))

        assert not opened.closed
    assert file.name == Path(opened.name).name
    assert await content_of(server, client, file) == b"whole"


async def test_an_async_iterator_is_uploaded_as_it_comes(
    server: LocalReplicate, client: Replicate
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d\n" % number

    file = await client.files.create(pieces(), filename="numbers.txt")

    assert (file.name, file.content_type) == ("numbers.txt", "text/plain")
    assert await content_of(server, client, file) == b"".join(b"%d\n" % n for n in range(100))


@pytest.mark.parametrize(
    "name", ['say "hi".txt', "ça va.txt", "日本語.txt", "a;b=c.txt", "a\\b.txt"]
)
async def test_any_printable_name_arrives_as_it_is(client: Replicate, name: str) -> None:
    file = await client.files.create(b"x", filename=name)

    assert file.name == name


async def test_a_file_can_be_an_input(client: Replicate) -> None:
    file = await client.files.create(b"x")

    said = await client.run("local/echo", {"value": {"file": file}}, files=False)

    assert said == {"file": file.urls.get}


async def test_an_output_file_can_be_uploaded(server: LocalReplicate, client: Replicate) -> None:
    output = await client.run("local/mandelbrot", {}, type=FileOutput)

    file = await client.files.create(output)

    assert (file.name, file.content_type) == (output.name, "image/png")
    assert await content_of(server, client, file) == await output.read()


async def test_files_are_listed_and_deleted(client: Replicate) -> None:
    kept = await client.files.create(b"kept")
    dropped = await client.files.create(b"dropped")

    await client.files.delete(dropped.id)

    assert [file async for file in client.files.list()] == [kept]
    with pytest.raises(NotFoundError, match="File not found"):
        await client.files.get(dropped.id)
    with pytest.raises(NotFoundError):
        await client.files.delete(dropped.id)


async def test_files_expire_after_a_day(server: LocalReplicate, client: Replicate) -> None:
    file = await client.files.create(b"x")

    server.advance(24 * 3600 + 1)

    with pytest.raises(NotFoundError):
        await client.files.get(file.id)
    assert [file async for file in client.files.list()] == []


async def test_files_are_the_accounts_own(server: LocalReplicate, client: Replicate) -> None:
    file = await client.files.create(b"x")
    stranger = client.with_options(api_token=server.add_account("stranger"))

    with pytest.raises(NotFoundError):
        await stranger.files.get(file.id)
    with pytest.raises(NotFoundError):
        await stranger.files.delete(file.id)


async def test_a_download_needs_the_right_signature(
    server: LocalReplicate, client: Replicate
) -> None:
    file = await client.files.create(b"x")
    signature = server.sign_download(file.id, expiry=LATER)["signature"]

    for owner, expiry, signed in (
        ("dev", LATER, "bm8="),
        ("dev", LATER + 1, signature),
        ("acme", LATER, signature),
        ("dev", 1, server.sign_download(file.id, expiry=1)["signature"]),
    ):
        with pytest.raises(NotFoundError):
            await client.files.download(file.id, owner=owner, expiry=expiry, signature=signed)


async def test_a_file_that_is_too_large_is_refused() -> None:
    async with embedded(Settings(max_file=1_000_000)) as (_, client):
        with pytest.raises(ContentTooLargeError) as caught:
            await client.files.create(bytes(1_000_000))

    assert str(caught.value) == (
        "POST /files answered 413: Files must be less than 1MB in size. "
        "Send a smaller file, or host it yourself and pass its URL."
    )


@pytest.mark.parametrize("type", ["picture", "image/", "image/png\r\nX: y", "a b/c"])
async def test_a_wrong_media_type_is_refused(client: Replicate, type: str) -> None:
    with pytest.raises(InvalidArgumentError, match="is not a media type; give one such as"):
        await client.files.create(b"x", type=type)


async def test_an_upload_that_may_have_arrived_is_not_sent_again(
    server: LocalReplicate, client: Replicate
) -> None:
    server.faults.add("files.create", status=503, perform=True)

    with pytest.raises(AmbiguousCreateError) as caught:
        await client.files.create(b"x")

    assert caught.value.sent_at is not None
    assert len([file async for file in client.files.list()]) == 1


async def test_an_exception_of_an_iterator_is_the_cause_of_the_upload_error(
    client: Replicate,
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise LookupError("the disk is gone")

    with pytest.raises(InvalidArgumentError, match="LookupError: the disk is gone") as caught:
        await client.files.create(broken())
    assert isinstance(caught.value.__cause__, LookupError)

    assert [file async for file in client.files.list()] == []


async def test_an_iterator_of_text_is_refused(client: Replicate) -> None:
    async def text() -> AsyncIterator[str]:
        yield "some"

    with pytest.raises(InvalidArgumentError, match="content yielded a str; it must yield bytes"):
        await client.files.create(text())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake


async def test_a_path_that_cannot_be_read_is_named(client: Replicate, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await client.files.create(tmp_path / "nothing.txt")

    assert str(caught.value) == (
        f"content={str(tmp_path / 'nothing.txt')!r} cannot be read: No such file or directory."
    )


async def test_content_that_is_not_a_file_is_refused(client: Replicate, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("words")

    with pytest.raises(InvalidArgumentError, match="content='words' is a str; give bytes"):
        await client.files.create("words")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake
    with text.open() as opened, pytest.raises(InvalidArgumentError, match="'rb'"):
        await client.files.create(opened)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake
