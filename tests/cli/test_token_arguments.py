"""A token on the command line: it is not taken, and never repeated."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from replicate_async.cli import main
from replicate_async.cli.errors import without_tokens

LIKE_A_TOKEN = "r8_" + "Ab1" * 12
SECRET = "sesame-open-the-door-of-the-cave"

NOT_TAKEN = [
    ("--api-token=<T>", "run"),
    ("--api-token", "<T>", "run"),
    ("--api-token=<T>", "run", "local/echo", "value=1", "--local"),
    ("run", "--api-token=<T>"),
    ("run", "--api-token", "<T>"),
    ("run", "local/echo", "--api-token=<T>", "value=1", "--local"),
    ("run", "local/echo", "value=1", "--local", "--api-token", "<T>"),
    ("--token=<T>", "run"),
    ("--token=<T>", "serve"),
    ("--apitoken=<T>", "run"),
    ("--api_token=<T>", "stream"),
    ("--API-TOKEN=<T>", "run"),
    ("--REPLICATE_API_TOKEN=<T>", "run"),
    ("predictions", "--api-token=<T>", "list"),
    ("predictions", "list", "--api-token=<T>"),
    ("batch", "--api-token=<T>", "status"),
    ("models", "--token", "<T>", "list"),
    ("serve", "--api-token", "<T>"),
    ("files", "upload", "--auth=<T>", "a.png"),
    ("run", "a/b", "--api-key", "<T>"),
]
OTHER = [
    ("--api-tokn=<T>", "run"),
    ("--api-tokn", "<T>", "run"),
    ("run", "local/echo", "--api-tokn=<T>", "value=1"),
    ("run", "local/echo", "--api-tokn", "<T>", "value=1"),
    ("REPLICATE_API_TOKEN=<T>", "run", "local/echo"),
    ("<T>", "run"),
    ("<T>",),
    ("-t", "<T>", "run"),
    ("-t<T>", "run"),
    ("-t=<T>", "run"),
    ("run", "local/echo", "-t<T>"),
    ("run", "local/echo", "-t=<T>"),
    ("--<T>", "run"),
    ("predictions", "<T>"),
    ("predictions", "--x=<T>", "list"),
]
HELP = [
    ("--help", "--api-token=<T>"),
    ("--api-token=<T>", "--help"),
    ("run", "--api-token=<T>", "--help"),
    ("run", "--help", "--api-token", "<T>"),
    ("--version", "--api-token=<T>"),
]


def said(
    arguments: Sequence[str], token: str, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    code = main.run([argument.replace("<T>", token) for argument in arguments])
    out, err = capfd.readouterr()
    return code, out + err


@pytest.mark.parametrize("token", [LIKE_A_TOKEN, SECRET], ids=["a token", "another secret"])
@pytest.mark.parametrize("arguments", NOT_TAKEN, ids=" ".join)
def test_a_token_is_not_taken_and_not_repeated(
    arguments: Sequence[str],
    token: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, text = said(arguments, token, capfd)

    assert code == 2
    assert "is not taken, for other users can see a command line" in text
    assert token not in text
    assert token[4:20] not in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("token", [LIKE_A_TOKEN, SECRET], ids=["a token", "another secret"])
@pytest.mark.parametrize("arguments", OTHER, ids=" ".join)
def test_no_wrong_argument_is_repeated_with_its_value(
    arguments: Sequence[str],
    token: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)

    code, text = said(arguments, token, capfd)

    assert code == 2
    assert text.startswith("error: Unknown ")
    assert token[4:20] not in text


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_does_not_repeat_it(
    arguments: Sequence[str], capfd: pytest.CaptureFixture[str]
) -> None:
    code, text = said(arguments, SECRET, capfd)

    assert code == 0
    assert SECRET not in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "list", "--limit", "<T>"),
        ("models", "get", "<T>", "--local"),
        ("run", "local/echo", "<T>", "--local"),
        ("batch", "local/echo", "-i", "<T>", "-o", "out.jsonl", "--local"),
        ("files", "upload", "<T>", "--local"),
        ("serve", "<T>"),
    ],
    ids=" ".join,
)
def test_a_token_in_the_place_of_something_else_is_hidden(
    arguments: Sequence[str], capfd: pytest.CaptureFixture[str]
) -> None:
    code, text = said(arguments, LIKE_A_TOKEN, capfd)

    assert code in (1, 2)
    assert "[hidden]" in text
    assert LIKE_A_TOKEN[4:20] not in text


def test_the_token_of_the_environment_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", f" {SECRET}\n")

    assert without_tokens(f"a {SECRET} b") == "a [hidden] b"
    monkeypatch.setenv("REPLICATE_API_TOKEN", "dev")
    assert without_tokens("a device") == "a device"
