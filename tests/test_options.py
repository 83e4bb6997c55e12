"""The arguments of the client: wrong ones are refused before anything is sent."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from replicate_async import (
    BatchTimeouts,
    InvalidArgumentError,
    Limits,
    Poll,
    Replicate,
    Retry,
    Timeout,
)
from replicate_async.context import context_of
from tests.support.sentinel import TOKEN, assert_clean


@pytest.mark.parametrize(
    "token",
    ["r8 x", "r8_x\n", "\r8_x", "r8_\x00", "r8_\xe9", "r8_\u2028", "Bearer r8_x", " r8_x", "\x7f"],
)
def test_a_malformed_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Replicate(token)

    assert str(caught.value) == (
        "api_token has a space, a line break or another character that no token has "
        f'({len(token)} characters in all); give the token alone, without "Bearer" and without '
        "quotes."
    )


# By what the message says of them.
NO_TOKENS: dict[str, list[str]] = {
    "quotes": ['"r8_x"', "'r8_x'", 'r8_x"', "`r8_x`", 'os.environ["REPLICATE_API_TOKEN"]'],
    "placeholder": [
        "<...>",
        "<your-token>",
        "r8_<x>",
        "${...}",
        "${TOKEN}",
        "$TOKEN",
        "{{TOKEN}}",
        "%TOKEN%",
    ],
    "equals sign": ["NAME=r8_x", "REPLICATE_API_TOKEN=r8_x", "token=r8_x"],
    "empty value": ["None", "none", "NULL", "null", "undefined", "nil", "NaN", "True", "false"],
    "Authorization header": ["Bearer", "bearer", "Bearer:r8_x", "Authorization:Bearer"],
}


@pytest.mark.parametrize("way", ["argument", "option", "environment"])
@pytest.mark.parametrize(
    ("said", "token"), [(said, token) for said, tokens in NO_TOKENS.items() for token in tokens]
)
def test_a_placeholder_token_is_refused_and_not_shown(
    said: str, token: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", token)
    ways: dict[str, Callable[[], object]] = {
        "argument": lambda: Replicate(token),
        "option": lambda: Replicate("r8_x").with_options(api_token=token),
        "environment": Replicate,
    }
    with pytest.raises(InvalidArgumentError) as caught:
        ways[way]()

    message = str(caught.value)
    assert message.startswith("REPLICATE_API_TOKEN " if way == "environment" else "api_token ")
    assert said in message
    assert token not in message.removeprefix("REPLICATE_API_TOKEN ")


@pytest.mark.parametrize(
    "token",
    [
        "r8_x",
        "bearer-token-of-a-gateway",
        "none-of-your-business",
        "eyJhbGciOi.eyJzdWIi.x-_",
        "c2VjcmV0==",
        "c2VjcmV0=",
        "a:b/c+d~e.f%20g",
    ],
)
def test_a_possible_token_is_accepted(token: str) -> None:
    Replicate(token)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("api_token", 5, "api_token is a int; it must be a string."),
        ("api_token", b"r8_x", "api_token is a bytes; it must be a string."),
        ("base_url", b"https://api.example.com", "base_url is a bytes; it must be a string."),
        ("retry", 3, "retry=3 is a int; pass Retry(...)."),
        ("limits", False, "limits=False is a bool; pass Limits(...)."),
        ("user_agent", 5, "user_agent=5 must be printable ASCII, such as 'my-app/1.0'."),
        ("trust_env", "no", "trust_env='no' must be True or False."),
        ("trust_env", None, "trust_env=None must be True or False."),
        ("timeout", True, "timeout: Timeout(read=True): use a number of seconds above 0."),
    ],
)
def test_an_option_of_another_type_is_refused(argument: str, value: object, message: str) -> None:
    client: Any = Replicate
    with pytest.raises(InvalidArgumentError) as caught:
        client(**{"api_token": TOKEN, argument: value})

    assert str(caught.value) == message


def test_a_token_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)

    with pytest.raises(InvalidArgumentError, match="api_token is empty"):
        Replicate("")
    with pytest.raises(InvalidArgumentError, match="set REPLICATE_API_TOKEN or pass api_token="):
        Replicate()


def test_a_refused_token_is_not_in_the_traceback() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Replicate(TOKEN + "\n")
    assert_clean(caught.value)
    with pytest.raises(InvalidArgumentError) as caught:
        Replicate(TOKEN).with_options(api_token=TOKEN + " ")
    assert_clean(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "http://192.168.0.1",
        "ftp://api.example.com",
        "api.example.com",
        "https://",
        "https://user:word@api.example.com",
        "https://api.example.com/v1?x=1",
        "https://api.example.com/v1#x",
        "https://api.example.com\\@evil.com",
        "https://api.example.com/\r\nX: y",
        "https://api.example.com:99999",
        "//api.example.com",
        " ",
    ],
)
def test_a_base_url_is_that_of_an_api(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^base_url: "):
        Replicate(TOKEN, base_url=url)


def test_plain_http_is_for_this_machine_or_with_allow_insecure() -> None:
    for url in ("http://127.0.0.1:8080", "http://localhost/v1", "http://[::1]:8080/v1"):
        assert context_of(Replicate(TOKEN, base_url=url)).base.url.startswith(
            url.removesuffix("/v1")
        )
    insisted = Replicate(TOKEN, base_url="http://api.example.com", allow_insecure=True)
    assert context_of(insisted).base.url == "http://api.example.com/v1"


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, "5"])
def test_a_timeout_is_a_number_of_seconds(timeout: float) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^timeout: "):
        Replicate(TOKEN, timeout=timeout)


@pytest.mark.parametrize("name", ["", "a\nb", "ä"])
def test_a_user_agent_is_printable(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="must be printable ASCII"):
        Replicate(TOKEN, user_agent=name)


@pytest.mark.parametrize(
    "name", ["", "https://a.example", "a.example:443", "*.a.example", "10.0.0.1", "[::1]", "a b", 1]
)
def test_a_trusted_host_is_a_name(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="trusted_hosts"):
        Replicate(TOKEN, trusted_hosts=[name])


@pytest.mark.parametrize("hosts", ["files.example", None, 3])
def test_trusted_hosts_are_a_list(hosts: Any) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"trusted_hosts=.* is not a list; give a list of names"
    ):
        Replicate(TOKEN, trusted_hosts=hosts)


@pytest.mark.parametrize("trust_env", [False, True])
def test_a_session_is_one_of_aiohttp(trust_env: bool) -> None:
    session: Any = "https://proxy.example"
    with pytest.raises(InvalidArgumentError, match=r"is a str; it must be an aiohttp\."):
        Replicate(TOKEN, session=session, trust_env=trust_env)


@pytest.mark.parametrize("kind", [BatchTimeouts, Limits, Poll, Retry, Timeout])
@pytest.mark.parametrize(
    "value", ["3", b"", [], math.nan, -1, True, pytest.param(10**400, id="huge")]
)
def test_no_number_is_refused_with_its_value(kind: Any, value: Any) -> None:
    for field in set(inspect.signature(kind).parameters) - {"enabled"}:
        with pytest.raises(ValueError, match=re.escape(f"{kind.__name__}({field}={value!r}): use")):
            kind(**{field: value})


@pytest.mark.parametrize("prices", [3, "acme/echo", [], {3: len}, {"acme/echo": 3}, {"echo": len}])
def test_prices_are_functions_by_model(prices: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^prices.*: give|is no mapping; give"):
        Replicate(TOKEN, prices=prices)


@pytest.mark.parametrize("value", ["no", "false", 0, 1, None])
def test_allow_insecure_is_no_text_that_counts_as_true(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"allow_insecure=.* must be True or False"):
        Replicate(TOKEN, base_url="http://api.example.com", allow_insecure=value)
