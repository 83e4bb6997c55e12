from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async import FileError, FileOutput, FileTooLargeError
from replicate_async.files.data_url import LARGEST, decode, is_base64, media_type

pytestmark = pytest.mark.anyio


@given(st.binary())
def test_base64_round_trips(data: bytes) -> None:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"

    assert is_base64(url)
    assert decode(url) == data


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("data:,a%20b", b"a b"),
        ("data:text/plain,hello", b"hello"),
        ("data:text/plain;charset=utf-8,%C3%BC", "ü".encode()),
        ("DATA:text/plain;BASE64,YQ==", b"a"),
        ("data:text/plain;base64,YQ%3D%3D", b"a"),
        ("data:image/svg+xml;charset=utf-8;base64,", b""),
        # What browsers read, too: the WHATWG's forgiving base64 and loose parameters.
        ("data:image/png;base64,Y Q=\t=\n", b"a"),
        ("data:image/png;base64,YQ", b"a"),
        ("data:image/png;base64,%59Q%20", b"a"),
        ("data:image/png;base64, YQ==", b"a"),
        ("data:image/png; base64,YQ==", b"a"),
        ("data:image/png ;  BASE64,YQ==", b"a"),
        ('data:audio/webm;codecs="opus";base64,YQ==', b"a"),
        ("data:bad type;base64,YQ==", b"a"),
        ("data:" + "x" * 600 + "/y;base64,YQ==", b"a"),
        ("data:image/png;base64,YQ==#part", b"a"),
        ("data:image/svg+xml;utf8,<svg/>", b"<svg/>"),
        ("data:text/plain,100% sure %zz", b"100% sure %zz"),
        ("data:text/plain,é", "é".encode()),
        ("data:text/plain,a\r\nb", b"ab"),
        ("data:text/plain;base64;x,YQ==", b"YQ=="),
    ],
)
def test_a_data_url_is_decoded(url: str, data: bytes) -> None:
    assert decode(url) == data


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,YQ=",
        "data:image/png;base64,YQ===",
        "data:image/png;base64,Y",
        "data:image/png;base64,YQ==YQ==",
        "data:image/png;base64,=",
        "data:image/png;base64,-_-_",
        "data:image/png;base64,é",
        "data:image/png;base64",
        "data:no comma",
    ],
)
def test_a_malformed_data_url_is_an_error(url: str) -> None:
    with pytest.raises(FileError):
        decode(url)


def test_a_too_large_data_url_is_an_error() -> None:
    with pytest.raises(FileTooLargeError):
        decode("data:a/b," + "x" * LARGEST)


def test_only_base64_with_a_media_type_is_recognized_as_a_file() -> None:
    assert is_base64("data:image/png;base64,YQ==")
    assert not is_base64("data:;base64,YQ==")
    assert not is_base64("data:text/plain,hello")
    assert not is_base64("data: I mean it, really")


def test_the_media_type_of_a_data_url_is_read() -> None:
    assert media_type("data:image/PNG;base64,") == "image/png"
    assert media_type("data:,x") == "text/plain"
    assert media_type("data:???") == "text/plain"


async def test_a_file_in_a_data_url_needs_no_client() -> None:
    data = bytes(2_000_000)
    file = FileOutput(f"data:image/webp;base64,{base64.b64encode(data).decode()}")

    assert (file.name, file.content_type, file.size) == ("output.webp", "image/webp", None)
    assert [chunk async for chunk in file] == [data]
    assert await file.read() == data
    assert [chunk async for chunk in file] == [data]
    assert (file.size, file.data) == (len(data), data)
    with pytest.raises(FileTooLargeError):
        await file.read(max_size=10)


async def test_max_size_applies_to_data_urls() -> None:
    with pytest.raises(FileTooLargeError):
        await FileOutput("data:image/png;base64,YWFhYQ==").read(max_size=3)
