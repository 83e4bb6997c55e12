"""Every Python snippet in the README, SKILL.md and the docs runs, against an embedded server.

A page is one program: its snippets run in order and share their names, with `await` at top level.
A snippet that runs `main()` in a loop is a program of its own, and runs as one. A fence that says
```` ```python notest: reason ```` does not run.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from inspect import iscoroutine
from pathlib import Path
from pkgutil import resolve_name
from types import FunctionType
from typing import NamedTuple

import anyio
import pytest

import replicate_async
from replicate_async.local import LocalReplicate

ROOT = Path(__file__).parent.parent
FOUND = [ROOT / "README.md", ROOT / "SKILL.md", *sorted((ROOT / "docs").glob("**/*.md"))]
PAGES = [page for page in FOUND if "_build" not in page.parts]
PROGRAMS = sorted((ROOT / "docs" / "examples").glob("*.py"))
# Those that serve run until they are told to end; tests/web/test_examples.py does.
SERVERS = [path for path in PROGRAMS if "--port" in path.read_text()]
# tests/integrations/check_ray.py runs ray_batch.py, in the session that installs Ray.
EXAMPLES = [path for path in PROGRAMS if path not in SERVERS and path.stem != "ray_batch"]
FENCE = re.compile(r"^( *)```python([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    line: int
    info: str
    source: str


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text()
    return [
        Snippet(
            line=text.count("\n", 0, match.start(3)) + 1,
            info=match[2].strip(),
            source=re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE),
        )
        for match in FENCE.finditer(text)
    ]


def named_objects() -> set[str]:
    """Return the functions and modules that the architecture page names, from the package down."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = {path.stem for path in (ROOT / "replicate_async").iterdir()}
    found: set[str] = set(re.findall(r"`([a-z]\w*\.[\w.]*\w)`", text))
    return {name for name in found if name.split(".")[0] in modules and not name.endswith(".py")}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
async def server() -> AsyncIterator[LocalReplicate]:
    async with LocalReplicate() as server:
        yield server


@pytest.fixture
def environment(server: LocalReplicate, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("REPLICATE_API_TOKEN", server.api_token)
    monkeypatch.setenv("REPLICATE_BASE_URL", server.url)
    return {**os.environ, "PYTHONWARNINGS": "error"}


async def run_program(source: str, environment: dict[str, str], folder: Path) -> str:
    process = await anyio.run_process(
        [sys.executable, "-c", source], env=environment, cwd=folder, check=False
    )
    assert process.returncode == 0, process.stderr.decode()
    return process.stdout.decode()


@pytest.mark.anyio
@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=named)
async def test_the_snippets_of_a_page_run(
    page: Path, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__page__"}

    for snippet in snippets(page):
        if snippet.info.startswith("notest"):
            continue
        if ".run(main())" in snippet.source:
            await run_program(snippet.source, environment, tmp_path)
            continue
        # Empty lines before it, so that a traceback names the line of the page.
        source = "\n" * (snippet.line - 1) + snippet.source
        code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = FunctionType(code, names)()
        if iscoroutine(result):
            await result


def test_a_snippet_that_does_not_run_says_why() -> None:
    for page in PAGES:
        for snippet in snippets(page):
            assert not snippet.info or re.fullmatch(r"notest: \w.+", snippet.info), (page, snippet)


@pytest.mark.anyio
@pytest.mark.parametrize("example", EXAMPLES, ids=named)
async def test_an_example_runs(example: Path, environment: dict[str, str], tmp_path: Path) -> None:
    program = await anyio.Path(example).read_text()

    assert await run_program(program, environment, tmp_path)


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!\w+:)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), (page, target)


@pytest.mark.parametrize(
    ("part", "package"),
    [("", None), ("integrations.dask", "distributed"), ("integrations.redis", "redis")],
)
def test_the_architecture_page_names_what_exists(part: str, package: str | None) -> None:
    if package is not None:
        pytest.importorskip(package, reason="the integrations session installs it")
    elsewhere = () if part else ("integrations.dask", "integrations.redis")
    for name in sorted(named_objects()):
        if name.startswith(part) and not name.startswith(elsewhere):
            assert resolve_name(f"replicate_async.{name}")


def test_the_page_on_errors_has_every_error() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    errors = {
        name
        for name in replicate_async.__all__
        if isinstance(value := getattr(replicate_async, name), type)
        and issubclass(value, replicate_async.ReplicateError)
    }

    assert {name for name in errors if f"`{name}`" not in text} == set()


def command(name: str) -> str:
    """Return the command of the README that a comment gives this *name*."""
    text = (ROOT / "README.md").read_text()
    match = re.search(rf"<!-- command: {name} -->\n```\w*\n(.+?)\n```", text, re.DOTALL)
    assert match is not None
    return match[1]


def test_the_first_command_of_the_readme_streams_a_story(tmp_path: Path) -> None:
    *_, last = command("first").split("&&")
    program, *arguments = shlex.split(last)

    assert program == ".venv/bin/replicate-async"
    ran = subprocess.run(
        [sys.executable, "-m", "replicate_async", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "REPLICATE_API_TOKEN": "", "PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(ran.stdout.split()) >= 20


def test_the_second_command_of_the_readme_runs_the_tests() -> None:
    assert command("test") == "pip install -e '.[cli,test]' && pytest"
