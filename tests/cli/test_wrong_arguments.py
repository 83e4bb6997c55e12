"""Wrong arguments and broken files of defaults: one clear sentence, and exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.program import Ran, environment, forked, run

pytestmark = pytest.mark.anyio

NOT_UTF8 = "a\udcffb"  # the byte 0xff between two letters
HOME = "~no-such-user/x"
FRAMES = ("local/frames", "count=1", "size=8")
NO_HOME = '"~no-such-user" is the home of no user'


def is_usage_error(ran: Ran, said: str) -> bool:
    return (ran.code, ran.out) == (2, "") and ran.err.startswith("error: ") and said in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "no model"), "model='no model' is neither"),
        (("run", "local/echo", "value=1", "--cancel-after", "5x"), "cancel_after='5x' is not"),
        (("predictions", "get", "a/b"), "prediction_id='a/b' contains"),
        (("models", "get", "echo"), "model='echo' must be"),
        (("models", "search", ""), "query='' is empty"),
        (("trainings", "create", "a/b:c", "--destination", "me"), "destination='me' must be"),
        (("deployments", "update", "a/b"), "nothing to change"),
        (("files", "download", "http://["), "http://[ is not a URL"),
        (("files", "download", "ftp://host/x"), "ftp://host/x is not a URL"),
        (("files", "download", "https://host/x", "-o", HOME), NO_HOME),
        (("run", *FRAMES, "-o", HOME), NO_HOME),
        (("run", "local/echo", f"value=@{HOME}"), f"value names a file that is not there: {HOME}"),
        (("run", "local/echo", f"value=@{'x' * 300}"), "value names a file that is not there: xxx"),
        (("types", "local/echo", "--output", HOME), NO_HOME),
        (("files", "upload", HOME), NO_HOME),
        (("files", "download", "id", "--owner=a", "--expiry=1", "--signature", NOT_UTF8),
         r"'a\udcffb' is not UTF-8"),
        (("models", "search", NOT_UTF8), r"'a\udcffb' is not"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value).encode(errors="replace"),
)  # fmt: skip
async def test_a_wrong_argument_is_a_usage_error(arguments: tuple[str, ...], said: str) -> None:
    assert is_usage_error(ran := await run(*arguments, "--local"), said), ran


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("rnu", 'Unknown command "rnu". Did you mean "run"? See \'replicate-async --help\'.'),
        ("predictions show", 'Unknown command "show". Available commands: list, get, cancel; see '),
        ("run", "MODEL is missing; see 'replicate-async run --help'."),
        ("run a/b --retries", "--retries needs a value; see"),
        ("run a/b --wiat=3", "Unknown option: --wiat; see 'replicate-async run --help'."),
        ("batch a/b -", "Unknown option: -. Did you mean -o? See "),
        ("batch a/b", "--input is missing; see 'replicate-async batch --help'."),
        ("predictions get a b", 'There is one argument too many: "b"; see '),
    ],
)
async def test_a_command_that_cannot_be_read_names_its_own_help(arguments: str, said: str) -> None:
    ran = await run(*arguments.split())

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--retries", "101"), "retries=101 must be an int"),
        (("--match", "key"), 'match="key" needs key='),
        (("--save-files", "in.jsonl"), '"in.jsonl" is a file'),
        (("--journal", HOME), NO_HOME),
        (("-i", HOME), NO_HOME),
        (("-o", HOME), NO_HOME),
        (("-o", "folder.jsonl"), "folder.jsonl is a folder; "),
        (("-o", "blocked.jsonl"), "blocked.jsonl.part is a folder; "),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
async def test_a_wrong_argument_of_a_batch_is_a_usage_error(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"value": 1}\n')
    for folder in ("folder.jsonl", "blocked.jsonl.part"):
        (tmp_path / folder).mkdir()
    files = (("-i", "in.jsonl"), ("-o", "out.jsonl"))
    given = [word for pair in files if pair[0] not in arguments for word in pair]

    ran = await run("batch", "local/echo", *given, *arguments, "--local")

    assert is_usage_error(ran, said), ran


async def test_the_host_of_a_server_is_an_argument_too() -> None:
    ran = await run("serve", "--port", "0", "--host", NOT_UTF8)

    assert is_usage_error(ran, r"'a\udcffb' is not UTF-8")


async def test_a_home_folder_is_found_behind_an_equals_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment() | {"HOME": str(tmp_path)}

    saved = await forked("run", *FRAMES, "--local", "--output=~/frames/", env=env)

    assert saved.out == f"{tmp_path}/frames/frame-0.png\n"


async def test_a_failure_of_the_system_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ran = await run("types", "local/echo", "--local", "--output", f"{tmp_path}/file/x.py")

    assert ran.code == 1
    assert ran.err.startswith(f"error: {tmp_path}/file: ")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that takes no files")
async def test_a_module_that_cannot_be_written_is_named() -> None:
    ran = await run("types", "local/echo", "--local", "--output", "/proc/x.py")

    assert (ran.code, ran.err) == (1, "error: /proc/x.py: No such file or directory.\n")


BROKEN = {
    "toml": b"[models.list]\nlimit = \n",
    "deep": b"a = " + b"[" * 5_000,
    "bytes": b"\xff\xfe\0",
    "encoding": 'a = "ü"'.encode("latin-1"),
}


@pytest.mark.parametrize("kind", [*BROKEN, "folder", "behind a file", "unreadable", "no user"])
async def test_a_broken_file_of_defaults_is_named(tmp_path: Path, kind: str) -> None:
    config = tmp_path / "config.toml"
    if kind == "folder":
        config.mkdir()
    elif kind == "unreadable":
        config.symlink_to(config)
    else:
        config.write_bytes(BROKEN.get(kind, b""))
    other = {"behind a file": f"{config}/x", "no user": HOME}
    where = other.get(kind, str(config))

    env = environment() | {"REPLICATE_CONFIG": where}
    ran = await forked("models", "list", "--local", env=env)
    helped = await forked("models", "list", "--help", env=env)

    assert is_usage_error(ran, where), ran
    assert "REPLICATE_CONFIG" in ran.err
    assert "Error: " not in ran.err
    assert ran.err.count("\n") == 1
    assert helped.code == 0


async def test_an_empty_name_of_the_file_of_defaults_is_none(tmp_path: Path) -> None:
    env = environment() | {"REPLICATE_CONFIG": "", "HOME": str(tmp_path)}

    ran = await forked("models", "list", "--local", "--limit", "1", env=env)

    assert ran.code == 0, ran.err
