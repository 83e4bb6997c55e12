"""Every file of an output, saved at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_async import (
    FileError,
    FileOutput,
    InvalidArgumentError,
    Replicate,
    Retry,
    SaveProgress,
    save_all,
)
from replicate_async.local import LocalReplicate
from tests.files.saved import here
from tests.support.fault_server import FaultServer
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Request

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


async def test_names_are_made_from_a_number_and_the_name_of_the_host(tmp_path: Path) -> None:
    paths = await save_all(
        [here(), here()], tmp_path, name=lambda number, given: f"{number:03}-{given}"
    )

    assert [path.name for path in paths] == ["001-output.png", "002-output.png"]


async def test_the_first_error_ends_the_other_files(tmp_path: Path) -> None:
    files = [here(), FileOutput("data:image/png;base64,?"), here()]

    with caught(FileError):
        await save_all(files, tmp_path, concurrency=1)

    assert _cancellations() == 0


def _cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@pytest.mark.parametrize("concurrency", [0, -1, True])
async def test_an_invalid_concurrency_is_refused(tmp_path: Path, concurrency: int) -> None:
    with caught(InvalidArgumentError):
        await save_all([], tmp_path, concurrency=concurrency)


@pytest.mark.parametrize("argument", ["name", "on_progress"])
async def test_what_cannot_be_called_is_refused(tmp_path: Path, argument: str) -> None:
    options: dict[str, Any] = {argument: "{index}.png"}

    with caught(InvalidArgumentError) as raised:
        await save_all([], tmp_path, **options)

    assert str(raised.error) == f"{argument}='{{index}}.png' must be a function, or None."


async def test_a_prediction_is_refused(
    tmp_path: Path, client: Replicate, server: LocalReplicate
) -> None:
    prediction = await client.predictions.create("local/frames", {"count": 1}, wait=True)

    with caught(InvalidArgumentError) as raised:
        await save_all(prediction, tmp_path)

    assert "client.parse_output" in str(raised.error)


async def saved_out_of_order(folder: Path, *, overwrite: bool) -> list[Path]:
    """Save four files of one name, of which the first comes last."""

    def answer(request: Request) -> Answer:
        slow = {"/0/out.png": 0.3, "/1/out.png": 0.1}.get(request.path, 0.0)
        body = request.path[1:2].encode() * 4
        return Answer(body=body, step=len(body) + 20, pause=slow)

    async with (
        FaultServer(answer) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        urls = [f"{server.origin}/{at}/out.png" for at in range(3)]
        files = [FileOutput(url).with_client(client) for url in urls]
        return await save_all([*files, here(b"3333")], folder, overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [True, False])
async def test_files_of_one_name_are_numbered_in_their_order(
    tmp_path: Path, overwrite: bool
) -> None:
    paths = await saved_out_of_order(tmp_path, overwrite=overwrite)

    assert [path.name for path in paths] == ["out.png", "out (2).png", "out (3).png", "output.png"]
    assert [path.read_text() for path in paths] == [str(at) * 4 for at in range(4)]


async def test_numbers_skip_existing_files(
    tmp_path: Path,
) -> None:
    for name in ("out.png", "out (3).png", "output.png"):
        (tmp_path / name).write_text("old")
    (tmp_path / "out (4).png").symlink_to("nowhere")

    paths = await saved_out_of_order(tmp_path, overwrite=False)

    names = ["out (2).png", "out (5).png", "out (6).png", "output (2).png"]
    assert [path.name for path in paths] == names
    assert [path.read_text() for path in paths] == [str(at) * 4 for at in range(4)]
    assert (tmp_path / "out.png").read_text() == "old"


async def test_many_files_of_one_name_are_numbered_in_their_order(tmp_path: Path) -> None:
    files = [here(str(at).encode()) for at in range(200)]

    paths = await save_all(files, tmp_path, concurrency=20)

    assert [path.read_text() for path in paths] == [str(at) for at in range(200)]
    assert [path.name for path in paths[1:]] == [f"output ({at}).png" for at in range(2, 201)]


async def test_a_failed_file_does_not_block_the_others(tmp_path: Path) -> None:
    bad = FileOutput("data:image/png;base64,?")

    with caught(FileError):
        await save_all([here(), bad, *[here()] * 20], tmp_path, concurrency=4)
