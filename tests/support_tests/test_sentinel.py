from __future__ import annotations

import base64
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sentinel import (
    TOKEN,
    WEBHOOK_SECRET,
    SecretWatch,
    assert_clean,
    assert_opaque,
    caught,
    shows_secret,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"Authorization: Bearer {TOKEN}",
        TOKEN[6:-4],
        base64.b64encode(f"user:{TOKEN}".encode()).decode(),
        WEBHOOK_SECRET,
    ],
    ids=["whole", "header", "middle", "basic", "webhook"],
)
def test_a_secret_is_recognised(text: str) -> None:
    assert shows_secret(f"before {text} after")
    assert shows_secret(f"before {text} after".encode())


def test_a_shortened_token_is_no_leak() -> None:
    assert not shows_secret(f"{TOKEN[:6]}…{TOKEN[-4:]}")


def test_a_token_looks_like_a_real_one() -> None:
    assert TOKEN.startswith("r8_")
    assert len(TOKEN) == 40


def raised(*args: object, **attributes: object) -> Exception:
    error = ValueError(*args)
    vars(error).update(attributes)
    return error


def with_cause(error: Exception, hidden: Exception) -> Exception:
    error.__cause__ = hidden
    return error


def with_hidden_context(error: Exception, hidden: Exception) -> Exception:
    error.__context__ = hidden
    error.__suppress_context__ = True
    return error


@pytest.mark.parametrize(
    "error",
    [
        raised(f"bad token {TOKEN}"),
        raised("bad token", TOKEN),
        raised("bad", headers={"Authorization": TOKEN}),
        with_cause(raised("plain"), raised(TOKEN)),
        with_hidden_context(raised("plain"), raised(TOKEN)),
        ExceptionGroup("several", [raised("plain"), raised(TOKEN)]),
    ],
    ids=["message", "argument", "attribute", "cause", "hidden context", "group"],
)
def test_an_error_that_holds_the_token_is_not_clean(error: Exception) -> None:
    with pytest.raises(AssertionError, match="secret is visible") as complaint:
        assert_clean(error)

    assert not shows_secret(str(complaint.value))


def test_an_ordinary_error_is_clean() -> None:
    with caught(LookupError) as found:
        raise LookupError("nothing here")

    assert str(found.error) == "nothing here"


def test_nothing_raised_is_noticed() -> None:
    quiet = caught(LookupError)

    with pytest.raises(AssertionError, match="LookupError was expected"), quiet:
        int("1")


def test_locals_of_the_packages_frames_are_searched() -> None:
    def fails() -> None:
        header = f"Bearer {TOKEN}"
        raise LookupError(len(header))

    with pytest.raises(LookupError) as found:
        fails()

    assert_clean(found.value)  # these frames are the tests' own
    with pytest.raises(AssertionError, match=r"header of .*fails"):
        assert_clean(found.value, package=Path(__file__).parent)


class Slotted:
    __slots__ = ("token",)

    def __init__(self) -> None:
        self.token = TOKEN


class Open:
    def __init__(self) -> None:
        self.token = TOKEN


@pytest.mark.parametrize("thing", [Slotted(), Open(), TOKEN, [TOKEN]])
def test_a_thing_that_shows_the_token_is_not_opaque(thing: object) -> None:
    with pytest.raises(AssertionError, match="secret is visible"):
        assert_opaque(thing, "thing")


def test_a_thing_without_it_is_opaque() -> None:
    assert_opaque({"a": [1, 2]}, "thing")


def test_a_record_is_searched_in_all_its_parts() -> None:
    watch, log = SecretWatch(), logging.getLogger("another.package")
    log.addHandler(watch)
    log.propagate = False

    log.debug("nothing")
    log.debug("sending %s", {"Authorization": TOKEN})
    log.debug("short", extra={"headers": TOKEN})
    try:
        int(TOKEN)
    except ValueError:
        log.exception("failed")

    assert watch.leaks == ["a record of the logger another.package"] * 3


FAULTY = """
from __future__ import annotations

import logging, warnings, sys
from tests.support.sentinel import TOKEN


def test_prints(): print(TOKEN)
def test_prints_to_stderr(): print(TOKEN, file=sys.stderr)
def test_logs(): logging.getLogger("x").debug(TOKEN)
def test_fails(): assert TOKEN == "x"
def test_quiet(): print("nothing")
"""


def test_the_whole_run_fails_when_a_secret_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "faulty"
    folder.mkdir()
    (folder / "test_faulty.py").write_text(FAULTY)
    (folder / "conftest.py").write_text("from tests.conftest import *\n")

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-cov", folder.name],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert not shows_secret(run.stdout + run.stderr)
    assert "1 passed" in run.stdout
    for name in ("test_prints", "test_prints_to_stderr", "test_logs", "test_fails"):
        assert f"{name}: a secret was printed" in run.stdout
