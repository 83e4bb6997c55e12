from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from replicate_async.local.clock import Clock
from replicate_async.local.http.file_response import BlobPayload
from replicate_async.local.http.ranges import Span
from replicate_async.local.store.blobs import Blob, BlobWriter, in_memory
from replicate_async.local.store.files import FileStore
from replicate_async.local.temp_folder import TempFolder
from tests.local.wire import files_left

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * 8192  # two megabytes


async def came(disk: TempFolder, *chunks: bytes) -> Blob:
    async with BlobWriter(disk) as incoming:
        for chunk in chunks:
            await incoming.write(chunk)
        return await incoming.finish()


@pytest.mark.parametrize("cut", [1, 5, 65_536, 100_000, 1_048_576, 2_000_000])
async def test_a_blob_of_pieces_is_complete(disk: Path, cut: int) -> None:
    place = TempFolder()

    content = await came(place, LARGE[:cut], LARGE[cut:])

    assert await content.read() == LARGE
    assert content.size == len(LARGE)
    assert content.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert content.md5 == hashlib.md5(LARGE).hexdigest()
    assert content.path is not None
    place.close()


async def test_a_small_blob_stays_in_memory_and_can_be_copied(disk: Path) -> None:
    content = await came(TempFolder(), b"hel", b"lo")
    await content.copy_to(disk / "copy")

    assert content == in_memory(b"hello")
    assert await anyio.Path(disk / "copy").read_bytes() == b"hello"
    assert [path.name for path in await files_left(disk, 1)] == ["copy"]


async def test_a_file_is_copied_even_when_it_is_empty(disk: Path) -> None:
    store = FileStore(Clock(), expiry=1, capacity=1)
    for data in (b"", LARGE):
        await anyio.Path(disk / "made").write_bytes(data)
        kept = await store.keep(disk / "made")
        await anyio.Path(disk / "made").write_bytes(b"changed afterwards")
        assert await kept.read() == data
    await store.close()


async def test_an_unfinished_blob_leaves_no_file(disk: Path) -> None:
    place = TempFolder()

    async def interrupted() -> None:
        async with BlobWriter(place) as incoming:
            await incoming.write(LARGE)
            assert len(await files_left(disk, 1)) == 1
            await asyncio.Event().wait()

    task = asyncio.create_task(interrupted())
    while not await files_left(disk, 1):  # noqa: ASYNC110 - a thread writes it
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await files_left(disk) == []
    place.close()


async def test_a_cancelled_copy_leaves_no_file(disk: Path) -> None:
    await anyio.Path(disk / "made").write_bytes(LARGE * 50)
    store = FileStore(Clock(), expiry=1, capacity=1)
    copying = asyncio.create_task(store.keep(disk / "made"))
    while len(await files_left(disk, 2)) < 2:  # noqa: ASYNC110 - a thread writes it
        await asyncio.sleep(0.001)
    copying.cancel()
    await asyncio.wait({copying})
    if not copying.cancelled():  # it was quicker
        copying.result().discard()

    assert [path.name for path in await files_left(disk, 1)] == ["made"]
    await store.close()


async def test_an_open_reader_reads_a_discarded_file_to_its_end(disk: Path) -> None:
    place = TempFolder()
    content = await came(place, LARGE)
    received = b""
    async with aclosing(content.chunks(1, len(LARGE) - 1)) as chunks:
        async for chunk in chunks:
            content.discard()
            received += chunk

    assert received == LARGE[1:-1]
    assert await files_left(disk) == []
    with pytest.raises(FileNotFoundError):
        await content.read()
    place.close()


async def test_no_blob_is_written_after_the_server_has_closed(disk: Path) -> None:
    place = TempFolder()
    place.close()

    with pytest.raises(OSError, match="removed"):
        await came(place, LARGE)


def test_a_file_can_be_discarded_without_an_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")

    Blob(1, "", "", path=path).discard()

    assert not path.exists()


async def test_a_body_on_disk_is_not_text() -> None:
    with pytest.raises(TypeError, match="not read as text"):
        BlobPayload(in_memory(b"x"), Span(0, 1)).decode()
