"""The Content-Encoding of files, and gzip that the HTTP library does not decompress."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from replicate_async import FileError, FileOutput, FileTooLargeError, Replicate, TruncatedBodyError
from replicate_async.files.content_encoding import Decompressor
from tests.files.hosts import CONTENT, Host, hosted, names_in
from tests.files.ways import save
from tests.support.fault_server import FaultServer
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


async def test_gzip_members_may_be_cut_anywhere() -> None:
    content = gzip.compress(b"one") + gzip.compress(b"two") + bytes(3)
    for cut in range(1, len(content)):
        pieces = [content[:cut], content[cut:], b""]

        async def read(left: list[bytes] = pieces) -> bytes:
            return left.pop(0)

        decompressor, found = Decompressor(read, "gzip"), b""
        while data := await decompressor.read():
            found += data
        assert found == b"onetwo", cut


async def test_a_compressed_answer_is_decompressed(tmp_path: Path) -> None:
    headers = (("Content-Encoding", "gzip"), ("ETag", '"a"'))
    async with hosted(Host(content=gzip.compress(CONTENT), headers=headers)) as (file, _, _):
        assert await save(file, tmp_path) == CONTENT
        assert await file.read() == CONTENT


@pytest.mark.parametrize("said", ["x-gzip", "X-GZIP", "aws-chunked, gzip", "identity,x-gzip"])
async def test_x_gzip_is_decompressed(said: str, tmp_path: Path) -> None:
    members = gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:]) + bytes(64)
    async with hosted(Host(content=members, headers=(("Content-Encoding", said),))) as (file, *_):
        assert await save(file, tmp_path) == CONTENT
        assert await file.read() == CONTENT


@pytest.mark.parametrize(
    ("said", "times"),
    [
        (("aws-chunked", "gzip"), 1),
        (("gzip", "aws-chunked"), 1),
        (("identity", "x-gzip"), 1),
        (("x-gzip", ""), 1),
        (("aws-chunked", "utf-8"), 0),
        (("gzip", "gzip"), 2),
        (("gzip, x-gzip",), 2),
    ],
)
async def test_lines_of_content_encoding_count_together(
    said: tuple[str, ...], times: int, tmp_path: Path
) -> None:
    content = CONTENT
    for _ in range(times):
        content = gzip.compress(content)
    headers = tuple(("Content-Encoding", line) for line in said)
    async with hosted(Host(content=content, headers=headers)) as (file, *_):
        assert await save(file, tmp_path) == CONTENT
        assert await file.read() == CONTENT


@pytest.mark.parametrize("said", [("rot13", "gzip"), ("identity", "rot13"), ("rot13", "identity")])
async def test_a_line_that_names_an_unknown_encoding_is_an_error(said: tuple[str, ...]) -> None:
    headers = tuple(("Content-Encoding", line) for line in said)
    async with hosted(Host(content=gzip.compress(CONTENT), headers=headers)) as (file, *_):
        with caught(FileError) as raised:
            await file.read()

    assert "the unknown encoding" in str(raised.error)


@pytest.mark.parametrize(("said", "cut"), [("gzip", 1), ("gzip", 9), ("x-gzip", 9), ("deflate", 1)])
async def test_compressed_bytes_without_their_end_are_an_error(
    said: str, cut: int, tmp_path: Path
) -> None:
    packed = zlib.compress(CONTENT) if said == "deflate" else gzip.compress(CONTENT)
    headers = (("Content-Encoding", said),)
    async with hosted(Host(content=packed[:-cut], headers=headers, etag=None)) as (file, *_):
        with caught(TruncatedBodyError):
            await save(file, tmp_path)

    assert not names_in(tmp_path)


async def test_a_file_whose_compressed_bytes_break_off_is_fetched_again(tmp_path: Path) -> None:
    packed = gzip.compress(CONTENT)
    whole = Host(content=packed, headers=(("Content-Encoding", "gzip"),))
    bodies = [packed[:200_000], packed[:-1], packed]

    def answer(request: Request) -> Answer:
        return replace(whole(request), body=bodies.pop(0))

    async with FaultServer(answer) as server, Replicate(TOKEN, base_url=server.url) as client:
        file = FileOutput(f"{server.origin}/out/picture.png").with_client(client)
        assert await save(file, tmp_path) == CONTENT


@pytest.mark.parametrize("size", [0, 1, 1000, len(CONTENT)])
async def test_deflate_is_decompressed_with_and_without_a_header(size: int, tmp_path: Path) -> None:
    for wbits in (15, -15):
        packer = zlib.compressobj(wbits=wbits)
        packed = packer.compress(CONTENT[:size]) + packer.flush()
        headers = (("Content-Encoding", "deflate"),)
        async with hosted(Host(content=packed, headers=headers)) as (file, *_):
            assert await save(file, tmp_path) == CONTENT[:size], wbits
            assert await file.read() == CONTENT[:size], wbits


async def test_the_encoding_that_is_named_last_is_read_first(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(gzip.compress(CONTENT)) + packer.flush()
    headers = (("Content-Encoding", "gzip, deflate"),)
    async with hosted(Host(content=packed, headers=headers)) as (file, *_):
        assert await save(file, tmp_path) == CONTENT


@pytest.mark.parametrize("said", ["gzip", "deflate", "gzip, deflate"])
async def test_an_empty_file_may_be_said_to_be_compressed(said: str, tmp_path: Path) -> None:
    host = Host(content=b"", headers=(("Content-Encoding", said),))
    async with hosted(host) as (file, *_):
        assert await save(file, tmp_path) == b""
        assert await file.read() == b""
        assert len(host.starts) == 2


async def test_invalid_gzip_is_an_error() -> None:
    async with hosted(Host(headers=(("Content-Encoding", "x-gzip"),))) as (file, *_):
        with caught(FileError) as raised:
            await file.read()

    assert "gzip" in str(raised.error)


@pytest.mark.parametrize(
    "said",
    ["", "aws-chunked", "identity, identity", "none", "Identity", "aws-chunked,", " , ", "UTF-8"],
)
async def test_encodings_that_change_nothing_are_ignored(said: str, tmp_path: Path) -> None:
    headers = (("Content-Encoding", said),)
    async with hosted(Host(headers=headers, most=100_000)) as (file, _, host):
        assert await save(file, tmp_path) == CONTENT
        assert await file.read() == CONTENT
        assert file.size == len(CONTENT)
        assert host.starts[:3] == [0, 100_000, 200_000], "plain bytes can be resumed"


@pytest.mark.parametrize("said", [pytest.param("gzip", marks=pytest.mark.slow), "x-gzip"])
async def test_a_gzip_bomb_is_stopped_early(said: str, tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    async with hosted(Host(content=bomb, headers=(("Content-Encoding", said),))) as (file, _, _):
        tracemalloc.start()
        try:
            with caught(FileTooLargeError) as raised:
                await save(file, tmp_path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert "decompressed" in str(raised.error)
    assert peak < 32 * 1024 * 1024
    assert not names_in(tmp_path)


async def test_an_unknown_encoding_is_an_error() -> None:
    async with hosted(Host(headers=(("Content-Encoding", "rot13"),))) as (file, _, _):
        with caught(FileError) as raised:
            await file.read()

    assert "rot13" in str(raised.error)
