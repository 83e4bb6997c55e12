"""``types``, as a program, against an embedded server or a file with a schema."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from tests.cli.program import run
from tests.support.schemas import document

pytestmark = pytest.mark.anyio

WIDTH = {"type": "integer", "minimum": 256, "maximum": 1280}


def written(path: Path, *args: Any, **kwargs: Any) -> Path:
    """Write a schema to a file."""
    path.write_text(json.dumps(document(*args, **kwargs)))
    return path


async def version_of(server: LocalReplicate, model: str) -> str:
    async with Replicate(server.api_token, base_url=server.url) as client:
        version = (await client.models.get(model)).latest_version
        assert version is not None
        return version.id


async def test_a_module_is_pinned_to_the_latest_version(server: LocalReplicate) -> None:
    ran = await run("types", "acme/shapes", server=server)
    version = await version_of(server, "acme/shapes")

    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert f"Generated from acme/shapes:{version} by ``replicate-async types``" in ran.out
    assert f'TypedModel(\n    "acme/shapes:{version}",\n' in ran.out
    assert "    count: Annotated[int, Meta(ge=1, le=9)] = 1\n" in ran.out
    assert "Schema:" not in ran.out


async def test_a_module_can_name_the_model_alone(server: LocalReplicate) -> None:
    ran = await run("types", "acme/shapes", "--no-pin", server=server)

    assert 'TypedModel(\n    "acme/shapes",\n' in ran.out
    assert "Schema: " in ran.out


async def test_an_official_model_is_not_pinned(server: LocalReplicate) -> None:
    ran = await run("types", "local/storyteller", server=server)

    assert 'TypedModel(\n    "local/storyteller",\n' in ran.out
    assert "Schema: " in ran.out


async def test_several_modules_are_written_to_a_folder(
    server: LocalReplicate, tmp_path: Path
) -> None:
    models = ("acme/shapes", "acme/spell", "replicate/hello-world")
    ran = await run("types", *models, "--output", str(tmp_path / "models"), server=server)

    assert ran.code == 0, ran.err
    assert ran.out == ""
    names = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert names == ["hello_world.py", "shapes.py", "spell.py"]


async def test_an_unchanged_module_is_not_touched(server: LocalReplicate, tmp_path: Path) -> None:
    path = tmp_path / "shapes.py"
    await run("types", "acme/shapes", "--output", str(path), server=server)
    os.utime(path, (1, 1))

    ran = await run("types", "acme/shapes", "--output", str(path), server=server)

    assert ran.err == f"{path} is unchanged\n"
    assert path.stat().st_mtime == 1


async def test_a_file_with_other_code_is_not_overwritten(
    server: LocalReplicate, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("x = 1\n")

    ran = await run("types", "acme/shapes", "--output", str(path), server=server)

    assert ran.code == 2
    assert ran.err == f"error: {path} is no generated module; give another --output.\n"
    assert path.read_text() == "x = 1\n"


USAGE_ERRORS: list[tuple[tuple[str, ...], str]] = [
    ((), 'Give a model, "owner/name".'),
    (("acme/shapes", "acme/spell"), "Several modules need a folder: give --output."),
    (("f" * 64,), "is a version without its model, which the API cannot look up"),
    (("a.py", "--check", "--no-pin"), "--check writes nothing"),
    (("--check",), "Give a module to check."),
    (("acme/a", "other/a", "--output", "x"), "Two of the models would be a.py"),
    (("Acme/shapes",), "has an upper-case owner"),
    (("acme/shapes", "--json"), "--json is not taken: a module is Python."),
    (("a/b", "a/c", "--schema", "x.json"), "--schema has the schema of one model; name one."),
    (("a/b", "--schema", "missing.json"), "missing.json cannot be read: No such file"),
    (("a/b", "--schema", __file__), "has no JSON object."),
]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *USAGE_ERRORS[:4],
        *(pytest.param(*case, marks=pytest.mark.slow) for case in USAGE_ERRORS[4:]),
    ],
)
async def test_a_usage_error_is_one_line(
    server: LocalReplicate, arguments: tuple[str, ...], said: str
) -> None:
    ran = await run("types", *arguments, server=server)

    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err
    assert ran.err.count("\n") == 1


async def test_a_model_without_a_schema_has_no_types(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text("{}")

    ran = await run("types", "acme/model", "--schema", str(schema))

    assert (ran.code, ran.err) == (1, "error: acme/model has no schema to make types of.\n")


async def test_an_unknown_model_is_named(server: LocalReplicate) -> None:
    ran = await run("types", "acme/nothing", server=server)

    assert ran.code == 1
    assert ran.err.startswith("error: There is no model acme/nothing")


async def test_a_schema_in_a_file_needs_no_token(tmp_path: Path) -> None:
    bare = written(tmp_path / "a.json", {"width": WIDTH})
    version = tmp_path / "b.json"
    version.write_text(json.dumps({"id": "x", "openapi_schema": json.loads(bare.read_text())}))

    of_bare = await run("types", "acme/model", "--schema", str(bare))
    of_version = await run("types", "acme/model", "--schema", str(version))

    assert of_bare.code == 0, of_bare.err
    assert "    width: Annotated[int, Meta(ge=256, le=1280)] | None = None\n" in of_bare.out
    assert of_bare.out == of_version.out


async def test_a_fresh_module_is_current(server: LocalReplicate, tmp_path: Path) -> None:
    models = ("acme/shapes", "local/storyteller")
    await run("types", *models, "--output", str(tmp_path), server=server)
    paths = [str(tmp_path / "shapes.py"), str(tmp_path / "storyteller.py")]

    ran = await run("types", "--check", *paths, server=server)

    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"width": WIDTH | {"maximum": 2048}}, "width 256..1280 is now 256..2048"),
        ({"width": WIDTH, "lora": {"type": "string"}}, "new input lora (optional)"),
        ({}, "input width is gone"),
    ],
    ids=["bound", "new", "gone"],
)
async def test_a_changed_input_is_said(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    module = tmp_path / "sdxl.py"
    schema = written(tmp_path / "a.json", {"width": WIDTH})
    await run("types", "acme/sdxl", "--schema", str(schema), "--output", str(module))
    written(schema, changed)

    ran = await run("types", "--check", str(module), "--schema", str(schema))

    assert ran.code == 1
    assert ran.out == f"{module}: {said}\n"
    assert ran.err == ""


async def test_a_changed_output_is_said_with_its_diff(tmp_path: Path) -> None:
    module = tmp_path / "sdxl.py"
    schema = written(tmp_path / "a.json", output={"type": "string"})
    await run("types", "acme/sdxl", "--schema", str(schema), "--output", str(module))
    written(schema, output={"type": "string", "format": "uri"})

    ran = await run("types", "--diff", str(module), "--schema", str(schema))

    assert ran.code == 1
    first, _, diff = ran.out.partition("\n")
    assert first == f"{module}: output str is now FileOutput"
    assert "\n-Output: TypeAlias = str\n+Output: TypeAlias = FileOutput\n" in diff


async def test_files_that_cannot_be_checked_are_named(
    server: LocalReplicate, tmp_path: Path
) -> None:
    texts = {"other.py": "x = 1\n", "broken.py": "x = (\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in (*texts, "missing.py")]

    ran = await run("types", "--check", *paths, server=server)

    assert ran.code == 2
    assert ran.err.splitlines() == [
        f"error: {paths[0]}: not a module that 'replicate-async types' wrote.",
        f"error: {paths[1]}: not Python.",
        f"error: {paths[2]}: cannot be read: No such file or directory.",
    ]


async def test_a_newer_version_of_a_pinned_model_is_no_difference(tmp_path: Path) -> None:
    def first(width: int) -> str:
        return str(width)

    def second(height: int) -> str:
        return str(height)

    path = tmp_path / "sizes.py"
    async with LocalReplicate(models={"acme/sizes": first}) as server:
        await run("types", "acme/sizes", "--output", str(path), server=server)
        server.add_model("acme/sizes", second)
        ran = await run("types", "--check", str(path), server=server)

    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith(f"{path}: acme/sizes has a newer version, ")
