"""``--help`` of every command, shell completion and the file of defaults."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from cyclopts import App
from rich.console import Console

from replicate_async.cli.app import build
from tests.cli.program import environment, forked, run

FRAME = "│╭╮╰╯─"


def commands(app: App, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the commands of *app* that do something, by their words."""
    if app.default_command is not None:
        yield path
    for name in app:
        if not name.startswith("-"):
            yield from commands(app[name], *path, name)


COMMANDS = list(commands(build()))


def help_of(command: tuple[str, ...], columns: int) -> str:
    """Return the help of a command as a terminal of *columns* shows it."""
    screen = StringIO()
    build().help_print(command, console=Console(file=screen, width=columns))
    return screen.getvalue()


def words_of(text: str) -> set[str]:
    return set(text.translate(dict.fromkeys(map(ord, FRAME))).split())


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
def test_help_fits_50_columns_without_breaking_a_word(command: tuple[str, ...]) -> None:
    narrow, wide = help_of(command, 50), help_of(command, 200)

    assert max(map(len, narrow.splitlines())) <= 50
    assert words_of(narrow) == words_of(wide)
    assert "[default: ()]" not in wide
    assert "None" not in wide


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_is_a_command(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = re.search(r"^\$ (.+)$", help_of(command, 200), re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "results.jsonl.journal"):
        Path(name).touch()

    assert example is not None
    program, *arguments = shlex.split(example[1])
    assert (program, tuple(arguments[: len(command)])) == ("replicate-async", command)
    app = build()
    called, _, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert called is app[command[0]].parse_commands(command[1:])[1][-1].default_command


@pytest.mark.anyio
async def test_a_shell_completes_commands(tmp_path: Path) -> None:
    env = environment() | {"HOME": str(tmp_path)}
    script = tmp_path / "completion.bash"
    install = ("completion", "--shell", "bash", "--output", str(script))
    installed = await forked(*install, env=env)
    lines = (
        f"source {script}",
        "COMP_WORDS=(replicate-async tra) COMP_CWORD=1",
        "_replicate_async",
        'echo "${COMPREPLY[@]}"',
    )
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", "\n".join(lines), stdout=asyncio.subprocess.PIPE
    )
    completed, _ = await shell.communicate()

    assert installed.code == 0, installed.err
    assert completed.split() == [b"trainings"]


@pytest.mark.anyio
async def test_defaults_are_read_from_a_file_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[models.list]\nlimit = 2\nlocal = true\n")
    env = environment() | {"REPLICATE_CONFIG": str(config)}

    listed = await forked("models", "list", env=env)
    config.write_text('[models.list]\nbase-url = "http://10.0.0.1"\nlimt = 3\n')
    wrong = await forked("models", "list", env=env)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.replicate-async.models.list]\nlocal = true\n")
    unasked = await run("models", "list")

    assert (listed.code, len(listed.out.splitlines())) == (0, 2)
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "limt" in wrong.err
    assert unasked.code == 2  # no token: a file of a project is not read


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("[bach]\nrate = 3", "{} has 'bach', which is unknown; did you mean batch?"),
        ("local = true", "{} has 'local', which is unknown; its tables are run, stream, "),
        ("[batch]\nrat = 3", "[batch] in {} has 'rat', which is unknown; did you mean rate?"),
        (
            "[models.lst]\nlimit = 2",
            "[models] in {} has 'lst', which is unknown; did you mean list",
        ),
        ("[run]\nmodel = 'a/b'", "[run] in {} has 'model', which is unknown; it takes retries, "),
        ("batch = 3", "{}: batch is a command: write its options below [batch]."),
    ],
)
async def test_a_default_of_no_command_is_a_usage_error_of_every_command(
    tmp_path: Path, text: str, flaw: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)

    ran = await forked("account", "--local", env=environment(config=config))

    assert ran.code == 2
    assert ran.err.startswith(f"error: {flaw.format(config)}")
    assert ran.err.count("\n") == 1


@pytest.mark.anyio
async def test_defaults_may_be_written_with_underscores_beside_prices(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[batch]\nmax_cost = 1\n[batch.status]\njson = true\n[prices."a/b"]\nrun = 1')

    ran = await forked("account", "--local", env=environment(config=config))

    assert (ran.code, ran.err) == (0, "")


def test_the_reference_shows_the_options_and_defaults_that_help_shows() -> None:
    reference = build().generate_docs()

    assert set(re.findall(r"--no-\w+", reference)) == {"--no-pin"}
    assert "default: False" not in reference
    assert "default: ()" not in reference
