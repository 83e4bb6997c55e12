from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from replicate_async import InvalidArgumentError
from replicate_async.files.readers import CHUNK_SIZE
from replicate_async.files.source_of import source_of
from replicate_async.files.sources import Source
from replicate_async.files.uploads import sendable_name

pytestmark = pytest.mark.anyio

LONG = bytes(range(256)) * 10_000  # more than two pieces


async def read(source: Source) -> bytes:
    content = bytearray()
    async with source.open() as reading:
        while piece := await reading.read():
            assert len(piece) <= CHUNK_SIZE
            content += piece
        assert reading.size in {None, len(content)}
    return bytes(content)


async def pieces(*given: object) -> AsyncIterator[object]:
    for piece in given:
        yield piece


class Named:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "long.bin"
    made.write_bytes(LONG)
    return made


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview", "path", "anyio", "fspath"])
async def test_content_is_read_more_than_once(kind: str, path: Path) -> None:
    given = {
        "bytes": LONG,
        "bytearray": bytearray(LONG),
        "memoryview": memoryview(LONG),
        "path": path,
        "anyio": anyio.Path(path),
        "fspath": Named(path),
    }[kind]
    source = source_of(given, "content")

    start = await source.read_head(1000)

    assert LONG.startswith(start.data)
    assert not start.is_complete
    assert source.size == len(LONG)
    assert source.replayable
    assert [await read(source), await read(source)] == [LONG, LONG]


async def test_an_open_file_is_read_from_its_position_and_set_back(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(1000)
        source = source_of(file, "content")

        await source.read_head(0)
        assert [await read(source), await read(source)] == [LONG[1000:], LONG[1000:]]
        assert file.tell() == 1000
    assert (source.name, source.size) == ("long.bin", len(LONG) - 1000)


@pytest.mark.parametrize("spooled", [10, 10_000_000])
async def test_a_file_in_memory_and_one_that_spilled_over_are_open_files(spooled: int) -> None:
    with tempfile.SpooledTemporaryFile(max_size=spooled) as file:
        file.write(LONG)
        file.seek(7)
        source = source_of(file, "content")

        assert not (await source.read_head(100)).is_complete
        assert await read(source) == LONG[7:]
        assert file.tell() == 7


async def test_unflushed_writes_are_sent(path: Path) -> None:
    with path.open("w+b") as file:
        file.write(b"new")
        file.seek(0)

        assert await source_of(file, "content").read_head(10) == (b"new", True)


async def test_an_empty_open_file_is_sent(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        file.read()
        source = source_of(file, "content")

        assert await source.read_head(0) == (b"", True)
        assert await read(source) == b""


async def test_a_compressed_file_is_sent_decompressed(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(LONG)
    with gzip.open(tmp_path / "a.gz", "rb") as file:
        source = source_of(file, "content")

        await source.read_head(100)
        assert await read(source) == LONG


class Trickle(io.BytesIO):
    """Gives at most 7 bytes a read."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(7 if size is None or size < 0 else min(size, 7))


@pytest.mark.parametrize("content", [LONG, b"more than 7 bytes"])
async def test_a_file_that_gives_few_bytes_a_read_is_sent_in_whole_chunks(content: bytes) -> None:
    source = source_of(Trickle(content), "content")

    head = await source.read_head(1000)
    async with source.open() as reading:
        first = await reading.read()

    assert head.is_complete is (len(content) <= 1000)
    assert content.startswith(head.data)
    assert first == content[:CHUNK_SIZE]
    assert await read(source) == content


async def test_one_open_file_can_be_read_twice_at_once(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(100)
        read_by: list[bytes] = []

        async def once() -> None:
            source = source_of(file, "content")
            await source.read_head(0)
            read_by.append(await read(source))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(once)
        assert read_by == [LONG[100:]] * 5
        assert file.tell() == 100


async def test_a_second_reader_begins_at_the_same_position(path: Path) -> None:
    with path.open("rb") as file:
        first, second = source_of(file, "content"), source_of(file, "content")
        await first.read_head(0)
        async with first.open() as reading:
            await reading.read()
            await second.read_head(0)
            assert await read(second) == LONG


async def test_an_iterator_is_read_once_and_its_start_is_kept() -> None:
    source = source_of(pieces(b"", b"ab", bytearray(b"c"), memoryview(b"d"), b""), "content")

    assert await source.read_head(2) == (b"abc", False)
    assert source.replayable
    assert await read(source) == b"abcd"
    assert not source.replayable


async def test_a_short_iterator_is_known_to_be_complete() -> None:
    source = source_of(pieces(b"ab", b"c"), "content")

    assert await source.read_head(3) == (b"abc", True)
    assert source.size == 3
    assert await source_of(pieces(), "content").read_head(0) == (b"", True)


async def test_a_pipe_is_read_as_data_arrives() -> None:
    end, start = os.pipe()
    with open(end, "rb") as reader, open(start, "wb", buffering=0) as writer:  # noqa: ASYNC230, PTH123 - a pipe has no path
        writer.write(b"some")
        source = source_of(reader, "content")
        assert await source.read_head(2) == (b"some", False)
        assert source.replayable
        writer.write(b" more")
        writer.close()

        assert await read(source) == b"some more"
    assert source.name is None


async def test_an_unused_generator_is_closed() -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    source = source_of(endless(), "content")
    await source.read_head(10)
    await source.aclose()
    assert closed == [True]

    source = source_of(endless(), "content")
    async with source.open() as reading:
        await reading.read()
    assert closed == [True, True]


async def test_a_file_that_shrinks_is_an_error(path: Path) -> None:
    source = source_of(path, "content")
    async with source.open() as reading:
        await reading.read()
        os.truncate(path, CHUNK_SIZE + 5)
        assert len(await reading.read()) == 5
        with pytest.raises(InvalidArgumentError) as caught:
            await reading.read()

    assert str(caught.value) == (
        f"content={str(path)!r} ended after 1,048,581 of 2,560,000 bytes; it was changed while it "
        "was sent."
    )


async def test_appended_bytes_are_not_sent(path: Path) -> None:
    async with source_of(path, "content").open() as reading:
        with path.open("ab") as file:
            file.write(b"more")
        content = b""
        while piece := await reading.read():
            content += piece

    assert content == LONG


async def test_reading_stops_at_max_size() -> None:
    source = source_of(pieces(*[b"1234"] * 5), 'input["a"]')
    source.max_size = 10

    with pytest.raises(InvalidArgumentError) as caught:
        await read(source)

    assert str(caught.value) == (
        'input["a"] holds more than the 10 that the API takes as an upload; send a smaller file, '
        "or host it yourself and give its URL."
    )


async def refusal(value: object) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        await source_of(value, 'input["a"]').read_head(10)
    return str(caught.value).replace(repr(value), "…")


async def test_an_unreadable_value_is_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("words")
    closed = text.open("rb")
    closed.close()
    os.mkfifo(tmp_path / "pipe")
    where = f'input["a"]={str(tmp_path)!r}'

    assert await refusal(tmp_path) == (
        f"{where} is a directory; give the path of a file, or an open file."
    )
    assert await refusal(tmp_path / "pipe") == (
        f"{where[:-1]}/pipe' is no regular file; give the path of a file, or an open file."
    )
    assert await refusal(tmp_path / "none") == (
        f"{where[:-1]}/none' cannot be read: No such file or directory."
    )
    assert "is no path: it has a null in it" in await refusal(Path("a\0b"))
    assert "is closed; pass it inside its 'with' block, or its Path." in await refusal(closed)
    with text.open("ab") as written:
        assert "is open for writing only; open it with 'rb'." in await refusal(written)
    with text.open() as opened:
        assert "is open in text mode; open it with 'rb'." in await refusal(opened)
    with tempfile.NamedTemporaryFile("w+") as wrapped:
        wrapped.write("words")
        wrapped.seek(0)
        assert "is open in text mode; open it with 'rb'." in await refusal(wrapped)
    assert await refusal(pieces("words")) == 'input["a"] yielded a str; it must yield bytes.'
    assert "is a int; give bytes, a Path, a file opened" in await refusal(3)


class Slotted:
    """A file in all but its class, of the kind that nothing can refer to weakly."""

    __slots__ = ("file",)

    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


async def test_a_file_of_any_class_is_read_by_its_methods() -> None:
    file = Slotted(b"12345")
    file.file.seek(2)
    source = source_of(file, "content")

    assert await source.read_head(10) == (b"345", True)
    assert await read(source) == b"345"
    assert file.file.tell() == 2


class Broken(io.RawIOBase):
    def __init__(self, result: object) -> None:
        super().__init__()
        self._result = result

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes | None:
        del size
        if isinstance(self._result, Exception):
            raise self._result
        return None


async def test_a_file_that_fails_says_why() -> None:
    assert "cannot be read: Input/output error." in await refusal(
        Broken(OSError(5, os.strerror(5)))
    )
    assert "gave a NoneType; it must give bytes." in await refusal(Broken(None))


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("plain.png", "plain.png"),
        ('say "hi".png', 'say "hi".png'),
        ("a\r\nb\x00.png", "a__b_.png"),
        ("日本語.png", "日本語.png"),
        ("bad \udcff.png", "bad _.png"),
        ("é" * 126 + ".png", "é" * 125 + ".png"),
        ("é" * 125 + "x.png", "é" * 125 + "x.png"),
        ("x" * 300, "x" * 255),
    ],
)
async def test_a_derived_name_is_made_sendable(name: str, sent: str) -> None:
    assert sendable_name(name) == sent
    assert len(sent.encode()) <= 255
