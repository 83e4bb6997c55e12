"""Every file of an output, saved at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from replicate_async import (
    FileError,
    FileOutput,
    InvalidArgumentError,
    Replicate,
    SaveProgress,
    save_all,
)
from replicate_async.local import LocalReplicate
from tests.files.saved import here
from tests.support.sentinel import caught

pytestmark = pytest.mark.anyio


@dataclass
class Scene:
    picture: FileOutput
    title: str = ""


class Book(msgspec.Struct, frozen=True):
    cover: FileOutput
    pages: list[Scene]


async def test_every_file_in_an_output_is_saved_in_order(tmp_path: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    output = {
        "a": [here(b"0"), "text", None],
        "b": Book(here(b"1"), [Scene(here(b"2"))]),
        "c": (here(b"3"), loop),
    }
    seen: list[SaveProgress] = []

    paths = await save_all(output, tmp_path / "new", concurrency=2, on_progress=seen.append)

    assert [path.read_bytes() for path in paths] == [b"0", b"1", b"2", b"3"]
    assert [(last.path, last.files) for last in seen if last.path] != []
    assert (seen[-1].files_done, seen[-1].files, seen[-1].saved) == (4, 4, 1)
    assert await save_all("text", tmp_path / "none") == []


async def test_two_files_of_one_output_never_overwrite_each_other(tmp_path: Path) -> None:
    (tmp_path / "output.png").write_bytes(b"old")
    files = [here(b"0"), here(b"1")]

    paths = await save_all(files, tmp_path, overwrite=True)

    assert {path.name for path in paths} == {"output.png", "output (2).png"}
    assert [path.read_bytes() for path in paths] == [b"0", b"1"]


async def test_names_may_be_made_of_a_number_and_what_the_host_says(tmp_path: Path) -> None:
    paths = await save_all(
        [here(), here()], tmp_path, name=lambda number, given: f"{number:03}-{given}"
    )

    assert [path.name for path in paths] == ["001-output.png", "002-output.png"]


async def test_the_first_file_that_fails_ends_the_others(tmp_path: Path) -> None:
    files = [here(), FileOutput("data:image/png;base64,?"), here()]

    with caught(FileError):
        await save_all(files, tmp_path, concurrency=1)


@pytest.mark.parametrize("concurrency", [0, -1, True])
async def test_a_concurrency_that_is_none_is_refused(tmp_path: Path, concurrency: int) -> None:
    with caught(InvalidArgumentError):
        await save_all([], tmp_path, concurrency=concurrency)


async def test_a_prediction_is_no_output(
    tmp_path: Path, client: Replicate, server: LocalReplicate
) -> None:
    prediction = await client.predictions.create("local/frames", {"count": 1}, wait=True)

    with caught(InvalidArgumentError) as raised:
        await save_all(prediction, tmp_path)

    assert "client.output" in str(raised.error)
