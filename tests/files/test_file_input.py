from __future__ import annotations

from pathlib import Path

import msgspec

from replicate_async import FileInput
from replicate_async.files.inputs import encode_input


class Input(msgspec.Struct, kw_only=True, frozen=True):
    image: FileInput
    mask: FileInput | None = None


def test_a_field_takes_a_url_or_a_file() -> None:
    url = encode_input(Input(image="https://example.com/a.png"))
    small = encode_input(Input(image=b"abc"))
    path = encode_input(Input(image="https://example.com/a.png", mask=Path("b.png")))

    assert url.values == {"image": "https://example.com/a.png"}
    assert small.values["image"].startswith("data:")
    assert [slot.place for slot in path.slots] == ['input["mask"]']


def test_msgspec_converts_to_it_without_a_look_at_the_value() -> None:
    assert msgspec.convert({"image": Path("a.png")}, Input) == Input(image=Path("a.png"))
