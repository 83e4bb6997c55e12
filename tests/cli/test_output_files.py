"""``run --output`` and ``stream --output``, as programs, against an embedded server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from replicate_async.local import LocalReplicate
from tests.cli.program import Ran, run
from tests.files.hosts import names_in

pytestmark = pytest.mark.anyio

FRAMES = ("local/frames", "count=2", "size=8")


async def ran(server: LocalReplicate, *arguments: str) -> Ran:
    return await run(*arguments, server=server)


async def test_files_are_saved_into_a_folder_and_their_paths_printed(
    server: LocalReplicate, tmp_path: Path
) -> None:
    folder = f"{tmp_path}/out/"
    for way, names in (
        ("run", ["frame-0.png", "frame-1.png"]),
        ("stream", ["frame-0 (2).png", "frame-1 (2).png"]),
    ):
        said = await ran(server, way, *FRAMES, "--output", folder)

        assert said == Ran(0, "".join(f"{tmp_path}/out/{name}\n" for name in names), "")
    assert len(names_in(tmp_path / "out")) == 4


async def test_a_pattern_names_the_files(server: LocalReplicate, tmp_path: Path) -> None:
    said = await ran(server, "run", *FRAMES, "-o", f"{tmp_path}/{{index}}-{{stem}}.{{ext}}")

    assert said.code == 0
    assert names_in(tmp_path) == ["1-frame-0.png", "2-frame-1.png"]
    said = await ran(server, "run", *FRAMES, "-o", f"{tmp_path}/{{name}}")
    assert names_in(tmp_path)[2:] == ["frame-0.png", "frame-1.png"]
    said = await ran(server, "run", *FRAMES, "-o", f"{tmp_path}/{{nope}}")
    assert said.code == 2
    assert "{index}" in said.err


async def test_a_name_is_taken_as_it_is_and_nothing_is_replaced_without_force(
    server: LocalReplicate, tmp_path: Path
) -> None:
    target = tmp_path / "a.png"
    arguments = ("run", "local/mandelbrot", "width=16", "height=16", "-o", str(target))

    assert await ran(server, *arguments) == Ran(0, f"{target}\n", "")
    before = target.stat().st_ino
    refused = await ran(server, *arguments)
    assert refused.code == 1
    assert "--force" in refused.err
    assert target.stat().st_ino == before
    assert (await ran(server, *arguments, "--force")).code == 0
    assert target.stat().st_ino != before
    assert names_in(tmp_path) == ["a.png"]


@pytest.mark.parametrize("name", ["out/", "{index}.png"])
async def test_files_that_cannot_be_saved_are_an_error(
    server: LocalReplicate, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()

    said = await ran(server, "run", *FRAMES, "-o", f"{tmp_path}/file/{name}")

    assert (said.code, said.out) == (1, "")
    assert "cannot be saved: " in said.err
    assert "file" in said.err.split("; ")[-1]


async def test_an_output_without_files_is_printed(server: LocalReplicate, tmp_path: Path) -> None:
    said = await ran(server, "run", "replicate/hello-world", "text=Alice", "-o", f"{tmp_path}/out/")

    assert (said.code, said.out) == (0, "hello Alice\n")
    assert "no files" in said.err
    assert names_in(tmp_path) == []


async def test_json_says_where_the_files_are(server: LocalReplicate, tmp_path: Path) -> None:
    said = await ran(server, "run", *FRAMES, "--json", "-o", str(tmp_path))
    streamed = await ran(server, "stream", *FRAMES, "--json", "-o", str(tmp_path))

    assert json.loads(said.out)["saved"] == [f"{tmp_path}/frame-{number}.png" for number in (0, 1)]
    events = [json.loads(line) for line in streamed.out.splitlines()]
    assert [event.get("path") for event in events] == [
        f"{tmp_path}/frame-0 (2).png",
        f"{tmp_path}/frame-1 (2).png",
        None,
    ]


async def test_files_inside_an_object_are_paths_in_what_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from replicate_async import FileOutput
    from replicate_async.cli.output_files import Saver

    saver = Saver(f"{tmp_path}{os.sep}", force=False)
    output = {"files": [FileOutput("data:image/png;base64,eA==")], "n": 1}
    await saver.save_output(output, "abc", joined=False)

    printed = json.loads(capsys.readouterr().out)
    assert printed == {"files": [str(tmp_path / "output.png")], "n": 1}


@pytest.mark.parametrize("output", ["", "-", "--json"])
async def test_an_output_that_is_not_a_path_is_refused(output: str) -> None:
    said = await run("run", "local/frames", "--local", f"--output={output}")

    assert said.code == 2
    assert said.err
