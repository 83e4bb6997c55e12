from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_async import File, FileOutput, InvalidArgumentError, Secret
from replicate_async.files.inputs import (
    EncodedInput,
    encode_input,
    encode_json,
    field_of,
    without_field,
)
from replicate_async.files.media import describe, type_of_content, type_of_name
from replicate_async.schemas import FileURLs

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


class Plain(msgspec.Struct, rename="camel"):
    some_image: object
    note: object = msgspec.UNSET


class Terse(msgspec.Struct, omit_defaults=True, tag="terse"):
    first: int = 1
    many: list[int] = []
    image: object = None


class Row(msgspec.Struct, array_like=True, tag=True):
    image: object
    weight: float = 0.5


@dataclass
class Shot:
    image: object
    seed: int = 1


def encoded(value: object) -> Any:
    draft = encode_input({"value": value})
    assert draft.slots == []
    return draft.values["value"]


def places(draft: EncodedInput) -> list[str]:
    return [slot.place for slot in draft.slots]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=30)
@given(st.dictionaries(st.text(), json_values))
def test_json_values_are_unchanged(values: dict[str, object]) -> None:
    draft = encode_input(values)

    assert draft.values == {name: value for name, value in values.items() if value is not None}
    assert draft.slots == []


def test_small_bytes_become_a_data_url_with_their_type() -> None:
    assert encoded(PNG).startswith("data:image/png;base64,iVBORw0KGgo")
    assert encoded(bytearray(b"hi")) == "data:application/octet-stream;base64,aGk="
    assert encoded(memoryview(b"xhix")[1:3]) == "data:application/octet-stream;base64,aGk="
    assert encoded(memoryview(b"h_i_")[::2]) == "data:application/octet-stream;base64,aGk="
    assert encoded(b"") == "data:application/octet-stream;base64,"


def test_bytes_above_256_kb_become_a_slot() -> None:
    assert encode_input({"a": bytes(256_000)}).slots == []
    assert places(encode_input({"a": bytes(256_001)})) == ['input["a"]']
    assert places(encode_input({"a": memoryview(bytes(256_001))})) == ['input["a"]']
    assert places(encode_input({"a": b"few"}, "upload")) == ['input["a"]']


def test_data_urls_of_an_input_have_at_most_ten_megabytes() -> None:
    draft = encode_input({"all": [bytes(250_000) for _ in range(45)]})

    assert places(draft) == [f'input["all"][{index}]' for index in range(40, 45)]


def test_files_are_found_in_all_containers() -> None:
    draft = encode_input(
        {
            "path": Path("a.png"),
            "nested": {"list": [1, (Path("b.png"), anyio.Path("c.png"))]},
            "structs": [Plain(Path("d.png")), Terse(image=Path("e.png")), Row(Path("f.png"))],
            "dataclass": Shot(io.BytesIO()),
        }
    )

    assert places(draft) == [
        'input["path"]',
        'input["nested"]["list"][1][0]',
        'input["nested"]["list"][1][1]',
        'input["structs"][0]["someImage"]',
        'input["structs"][1]["image"]',
        'input["structs"][2][1]',
        'input["dataclass"]["image"]',
    ]


def test_a_struct_as_input_may_have_files() -> None:
    assert places(encode_input(Plain(Path("a.png")))) == ['input["someImage"]']


def test_structs_are_encoded_as_msgspec_does() -> None:
    plain = [Plain(1, 2), Terse(), Terse(first=2, many=[1]), Row("x"), Terse(many=[])]

    for value in plain:
        assert encoded(value) == msgspec.to_builtins(value)
    assert encoded(Plain(1)) == {"someImage": 1}
    assert encoded(Shot("x")) == {"image": "x", "seed": 1}


class Sparse(msgspec.Struct, omit_defaults=True, rename="kebab"):
    some_prompt: str
    width: int = 1024
    sizes: list[int] = msgspec.field(default_factory=lambda: [1, 2])


def test_of_an_input_that_omits_defaults_only_what_differs_is_sent() -> None:
    assert encode_input(Sparse("Hi")).values == {"some-prompt": "Hi"}
    assert encode_input(Sparse("Hi", 1024, [1, 2])).values == {"some-prompt": "Hi"}
    assert encode_input(Sparse("Hi", 512, [2])).values == {
        "some-prompt": "Hi",
        "width": 512,
        "sizes": [2],
    }
    assert encode_input(Sparse("Hi", cast("int", True))).values["width"] is True
    assert encode_input({"some-prompt": "Hi", "width": 1024}).values["width"] == 1024
    assert without_field(Sparse("Hi", 512), "some-prompt") == {"width": 512}
    assert field_of(Sparse("Hi"), "width") == 1024


def test_the_texts_of_secrets_are_known_after_encoding() -> None:
    draft = encode_input({"token": Secret("hunter2"), "list": [Secret("hunter3")], "text": "plain"})

    assert draft.values == {"token": "hunter2", "list": ["hunter3"], "text": "plain"}
    assert draft.secrets == ["hunter2", "hunter3"]


def test_a_secret_that_cannot_be_sent_is_not_shown() -> None:
    with pytest.raises(InvalidArgumentError, match="is a Secret whose text is not valid") as raised:
        encode_input({"token": Secret("hunter2\ud800")})

    assert "hunter2" not in str(raised.value)


def test_uploaded_files_become_their_urls() -> None:
    file = File(id="f", urls=FileURLs(get="https://api.replicate.com/v1/files/f"))
    output = FileOutput("https://replicate.delivery/out.png")

    assert encoded([file, Shot(file), Plain(output)]) == [
        "https://api.replicate.com/v1/files/f",
        {"image": "https://api.replicate.com/v1/files/f", "seed": 1},
        {"someImage": "https://replicate.delivery/out.png"},
    ]


def test_an_output_in_a_data_url_is_sent_unchanged() -> None:
    assert encoded(FileOutput("data:image/png;base64,AAAA")) == "data:image/png;base64,AAAA"


def test_the_same_file_in_two_places_has_one_slot() -> None:
    opened, large = io.BytesIO(b"x"), bytes(300_000)
    draft = encode_input(
        {"a": opened, "b": [opened, large, Path("p")], "c": large, "d": {"e": Path("p")}}
    )

    assert places(draft) == ['input["a"]', 'input["b"][1]', 'input["b"][2]']
    for number, slot in enumerate(draft.slots):
        slot.url = str(number)
    draft.fill()
    assert draft.values == {"a": "0", "b": ["0", "1", "2"], "c": "1", "d": {"e": "2"}}


def test_text_that_looks_like_a_path_or_a_url_stays_text() -> None:
    for text in ("/etc/passwd", "@file", "https://x.test/a.png", "data:,x"):
        assert encoded(text) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, math.nan]}, 'input["value"]["a"][1] is nan, which JSON cannot hold.'),
        ([{1: 2}], 'input["value"][0] has the key 1; keys must be strings.'),
        (Shot(1j), 'input["value"]["image"]: a value of type complex cannot be sent as JSON;'),
        (Row(object()), 'input["value"][1]: a value of type object cannot be sent as JSON;'),
        ({'a"b\n': {1j}}, 'input["value"]["a"b\\n"][0]: a value of type complex'),
    ],
)
def test_an_unsendable_value_is_named_with_its_place(value: object, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        encode_input({"value": value})

    assert str(caught.value).startswith(message)


def test_metadata_takes_no_files() -> None:
    with pytest.raises(InvalidArgumentError, match=r'metadata\["a"\]\[0\] is a file; metadata'):
        encode_json({"a": [Path("x")]}, "metadata")


def test_a_slot_is_filled_in_place() -> None:
    draft = encode_input({"a": [Path("x")], "b": None})
    draft.slots[0].url = "https://x.test/"
    draft.fill()

    assert draft.values == {"a": ["https://x.test/"]}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.PNG", "image/png"),
        ("a.webp", "image/webp"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt.xz", "application/x-xz"),
        ("a.csv.Z", "application/octet-stream"),
        ("a.safetensors", "application/octet-stream"),
        ("http:a.png", "image/png"),
        ("data:text/html,x", None),
        ("README", None),
        ("", None),
    ],
)
def test_a_name_tells_the_media_type(name: str, kind: str | None) -> None:
    assert type_of_name(name) == kind


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\n\n\n\nWEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"\x00\x00\x00\x20ftypavif", "image/avif"),
        (b"\x00\x00\x00\x20ftypisom", "video/mp4"),
        (b"\x00\x00\x00\x20ftypM4A ", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3\x01\x00webm", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x01\x00matroska", "video/x-matroska"),
        (b"OggS\x00", "audio/ogg"),
        (b"fLaC\x00", "audio/flac"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1f\x8b\x08\x00", "application/gzip"),
        (b"II*\x00", "image/tiff"),
        (b"glTF\x02", "model/gltf-binary"),
        (b"words", None),
        (b"", None),
    ],
)
def test_the_first_bytes_tell_the_media_type(start: bytes, kind: str | None) -> None:
    told = type_of_content(start)

    assert (told and told[0]) == kind


def test_the_name_is_preferred_to_the_bytes() -> None:
    assert describe("a.bin", PNG) == ("a.bin", "application/octet-stream")
    assert describe("a", PNG) == ("a", "image/png")
    assert describe(None, PNG) == ("file.png", "image/png")
    assert describe(None, b"x") == ("file", "application/octet-stream")
