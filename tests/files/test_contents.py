"""Files of other packages' kinds, files that stand at their end, and files that fail."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from replicate_async import File, InvalidArgumentError, Replicate
from replicate_async.files.readers import CHUNK_SIZE
from replicate_async.files.source_of import source_of
from replicate_async.files.sources import Source
from replicate_async.local import InputFile, LocalReplicate

image_of = pytest.importorskip("PIL.Image", reason="the test extra installs it")
starlette = pytest.importorskip("starlette.datastructures", reason="the test extra installs it")

pytestmark = pytest.mark.anyio

MODEL = "acme/told"


@pytest.fixture
async def client() -> AsyncIterator[Replicate]:
    async with (
        LocalReplicate() as server,
        Replicate(server.api_token, base_url=server.url) as connected,
    ):

        @server.model(MODEL)
        def told(file: InputFile) -> list[str]:
            return [file.name, file.data.hex()]

        yield connected


async def uploads(client: Replicate) -> list[File]:
    return [file async for file in client.files.list()]


async def content_of(source: Source) -> bytes:
    content = bytearray()
    async with source.open() as reading:
        while piece := await reading.read():
            content += piece
    return bytes(content)


def upload(content: bytes, filename: str, kind: str | None = None) -> Any:
    headers = starlette.Headers({"content-type": kind} if kind else {})
    return starlette.UploadFile(io.BytesIO(content), filename=filename, headers=headers)


async def test_a_form_file_keeps_its_name_and_type(
    client: Replicate,
) -> None:
    given = upload(b"words", "C:\\photos\\cat.webp", "image/webp; x=y")

    _, content = await client.run(MODEL, {"file": given}, file_encoding="upload")
    await client.files.create(given, metadata={"n": 1})

    assert bytes.fromhex(content) == b"words"
    made = await uploads(client)
    assert [(file.name, file.content_type) for file in made] == [("cat.webp", "image/webp")] * 2


async def test_a_form_file_without_a_type_gets_that_of_its_content(client: Replicate) -> None:
    png = b"\x89PNG\r\n\x1a\n"
    for kind in (None, "application/octet-stream", "nonsense\r\nX: y"):
        said = await client.run("local/echo", {"value": upload(png, "", kind)}, files=False)
        assert said.startswith("data:image/png;base64,")


class FileStorage:
    """An upload as Werkzeug has it."""

    filename = "cat.png"
    name = "the field of the form"
    content_type = "image/png"

    def __init__(self, content: bytes) -> None:
        self.stream = io.BytesIO(content)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


async def test_the_name_of_a_form_field_is_not_a_filename() -> None:
    source = source_of(FileStorage(b"words"), "content")

    assert (source.name, source.type) == ("cat.png", "image/png")
    assert await content_of(source) == b"words"


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "La"]
)
async def test_an_image_is_sent_as_png(client: Replicate, mode: str) -> None:
    image = image_of.new(mode, (3, 2))

    _, content = await client.run(MODEL, {"file": image})

    sent = image_of.open(io.BytesIO(bytes.fromhex(content)))
    assert (sent.format, sent.size) == ("PNG", (3, 2))


async def test_an_image_keeps_the_orientation_of_its_photograph(client: Replicate) -> None:
    photograph = io.BytesIO()
    exif = image_of.Exif()
    exif[0x0112] = 6
    image_of.new("RGB", (3, 2)).save(photograph, "JPEG", exif=exif)

    _, content = await client.run(MODEL, {"file": image_of.open(photograph)})

    sent = image_of.open(io.BytesIO(bytes.fromhex(content)))
    assert sent.getexif()[0x0112] == 6


async def test_an_image_that_png_cannot_hold_is_refused(client: Replicate) -> None:
    with pytest.raises(InvalidArgumentError, match=r'input\["file"\].*mode .F., which PNG cannot'):
        await client.run(MODEL, {"file": image_of.new("F", (3, 2))})


async def test_images_are_equal_by_their_pixels() -> None:
    def fingerprint(color: str) -> list[object]:
        return source_of(image_of.new("RGB", (3, 2), color), "content").fingerprint(9)

    assert fingerprint("red") == fingerprint("red") != fingerprint("blue")


def buffer() -> io.BytesIO:
    written = io.BytesIO()
    written.write(b"words")
    return written


async def read_upload() -> object:
    given = upload(b"words", "a.txt")
    await given.read()
    return given


async def file_at_its_end() -> object:
    return (await async_file_at_its_end()).wrapped


async def async_file_at_its_end() -> Any:
    await anyio.Path("words.bin").write_bytes(b"words")
    opened = await anyio.open_file("words.bin", "rb")
    await opened.read()
    return opened


async def a_buffer() -> object:
    return buffer()


ENDS: list[Callable[[], Awaitable[object]]] = [
    a_buffer, read_upload, file_at_its_end, async_file_at_its_end,
]  # fmt: skip


@pytest.mark.parametrize("make", ENDS, ids=lambda make: make.__name__)
async def test_a_file_at_its_end_is_refused(
    make: Callable[[], Awaitable[object]],
    client: Replicate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given: Any = await make()
    says = r"stands at its end, after 5 bytes, .*; call seek\(0\) on it first"

    with pytest.raises(InvalidArgumentError, match=rf'input\["file"\].*{says}'):
        await client.run(MODEL, {"file": given})
    with pytest.raises(InvalidArgumentError, match=f"content.*{says}"):
        await client.files.create(given)
    with pytest.raises(InvalidArgumentError, match=says):
        await asyncio.to_thread(source_of(given, "content").fingerprint, 9)
    assert await uploads(client) == []
    for each in (given, getattr(given, "file", None)):
        close = getattr(each, "close", None)
        if close is not None and isinstance(closed := close(), Awaitable):
            await closed


@pytest.mark.parametrize("way", ["create", "upload"])
async def test_a_generator_that_was_read_to_its_end_is_refused(client: Replicate, way: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 300_000

    send, create = client.files.create, partial(client.predictions.create, MODEL)
    given = chunks()
    await create({"file": given})

    with pytest.raises(InvalidArgumentError, match="read to its end before"):
        await (send(given) if way == "upload" else create({"file": given}))
    assert len(await uploads(client)) == 1


async def test_an_empty_buffer_that_was_written_to_is_sent(client: Replicate) -> None:
    empty = buffer()
    empty.truncate(0)
    assert empty.tell() == 5

    assert (await client.run(MODEL, {"file": empty}))[1] == ""


class AsyncFile:
    """A file as aiofiles has it: iterating over it gives lines."""

    name = "folder/words.txt"

    def __init__(self, content: bytes, failure: Exception | None = None) -> None:
        self._file = io.BytesIO(content)
        self._failure = failure
        self.sizes: list[int] = []

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("lines may be of any length")

    async def read(self, n: int = -1, /) -> bytes:
        if self._failure is not None:
            raise self._failure
        self.sizes.append(n)
        return self._file.read(n)

    async def tell(self) -> int:
        return self._file.tell()


async def test_async_files_are_read_in_bytes_and_not_in_lines() -> None:
    file = AsyncFile(b"a" * 10)
    source = source_of(file, "content")

    assert source.name == "words.txt"
    assert await content_of(source) == b"a" * 10
    assert set(file.sizes) == {CHUNK_SIZE}
    read = AsyncFile(b"words")
    await read.read()
    with pytest.raises(InvalidArgumentError, match="stands at its end, after 5 bytes"):
        await source_of(read, "content").read_head(9)


async def test_a_stream_reader_is_read_in_bytes_and_not_in_lines(client: Replicate) -> None:
    reader = asyncio.StreamReader(limit=8)
    reader.feed_data(b"more bytes than the longest line may have")
    reader.feed_eof()

    _, content = await client.run(MODEL, {"file": reader})

    assert bytes.fromhex(content) == b"more bytes than the longest line may have"
    file = await client.files.create(AsyncFile(b"words"))
    assert file.name == "words.txt"


class Failing(io.BytesIO):
    """An open file one of whose methods fails."""

    def __init__(self, method: str) -> None:
        super().__init__(b"words")
        self._method = method

    def read(self, size: int | None = -1, /) -> bytes:
        self._fail("read")
        return super().read(size)

    def tell(self) -> int:
        self._fail("tell")
        return super().tell()

    def seekable(self) -> bool:
        self._fail("seekable")
        return True

    def _fail(self, method: str) -> None:
        if method == self._method:
            raise LookupError("no luck")


class OddPosition(io.BytesIO):
    """An open file that does not say where it stands."""

    def tell(self) -> Any:
        return "nowhere"


class BadPath:
    def __fspath__(self) -> str:
        raise LookupError("no luck")


class BadRepr(io.BytesIO):
    def __repr__(self) -> str:
        raise LookupError("no luck")


class BadIterator:
    def __aiter__(self) -> AsyncIterator[bytes]:
        raise LookupError("no luck")


async def pieces() -> AsyncIterator[bytes]:
    yield b"words"
    raise LookupError("no luck")


FAILING: dict[str, Callable[[], object]] = {
    "read": lambda: Failing("read"),
    "tell": lambda: Failing("tell"),
    "seekable": lambda: Failing("seekable"),
    "__fspath__": BadPath,
    "__aiter__": BadIterator,
    "__anext__": pieces,
    "async read": lambda: AsyncFile(b"", LookupError("no luck")),
}


@pytest.mark.parametrize("kind", FAILING)
async def test_an_exception_of_a_file_is_the_cause_of_the_error(
    kind: str, client: Replicate
) -> None:
    calls: list[tuple[str, Callable[[Any], Awaitable[object]]]] = [
        ('input["file"]', lambda given: client.run(MODEL, {"file": given})),
        ("content", client.files.create),
    ]
    for place, call in calls:
        with pytest.raises(InvalidArgumentError, match="LookupError: no luck") as caught:
            await call(FAILING[kind]())
        assert str(caught.value).startswith(place)
        assert isinstance(caught.value.__cause__, LookupError)


async def test_a_file_whose_tell_fails_is_refused(client: Replicate) -> None:
    says = r"OddPosition.* cannot be read: TypeError"

    with pytest.raises(InvalidArgumentError, match=says):
        await client.run(MODEL, {"file": OddPosition(b"words")})
    with pytest.raises(InvalidArgumentError, match=says):
        await client.files.create(OddPosition(b"words"))


async def test_an_oserror_is_the_cause_too(client: Replicate) -> None:
    with pytest.raises(InvalidArgumentError, match="No such file") as caught:
        await client.run(MODEL, {"file": Path("/nowhere/at/all")})
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_file_whose_repr_fails_is_sent(client: Replicate) -> None:
    assert (await client.run(MODEL, {"file": BadRepr(b"words")}))[1] == b"words".hex()
    read = BadRepr(b"words")
    read.read()
    with pytest.raises(InvalidArgumentError, match="<BadRepr> stands at its end"):
        await client.run(MODEL, {"file": read})
