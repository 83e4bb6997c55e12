"""The options of the embedded server: wrong ones are refused at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from replicate_async import InvalidArgumentError
from replicate_async.local import LocalReplicate, RateLimits, Settings


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("host", None, "host=None must be a string, and not empty."),
        ("port", "80", "port='80' must be an int from 0 to 65535."),
        ("port", 65536, "port=65536 must be an int from 0 to 65535."),
        ("api_token", 5, "api_token=5 must be a string, and not empty."),
        ("username", "a b", "username='a b' must be of lower-case letters, digits, "),
        ("builtins", "no", "builtins='no' must be True or False."),
        ("faults", {}, "faults={} is a dict; pass a Faults."),
        ("settings", {}, "settings={} is a dict; pass a Settings."),
    ],
)
def test_an_option_of_the_server_is_checked(argument: str, value: Any, said: str) -> None:
    make: Callable[..., Any] = LocalReplicate
    with pytest.raises(InvalidArgumentError) as caught:
        make(**{argument: value})

    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("concurrency", 0, "Settings(concurrency=0): Expected `int` >= 1."),
        ("run_timeout", "30", "Settings(run_timeout='30'): Expected `float`, got `str`."),
        ("run_timeout", math.nan, "Settings(run_timeout=nan): Expected `float` >= 0.0."),
        ("head_timeout", -1, "Settings(head_timeout=-1): Expected `float` >= 0.0."),
        ("sync_answer", "failed", "Settings(sync_answer='failed'): Invalid enum value 'failed'."),
        ("stream_logs", "no", "Settings(stream_logs='no'): Expected `bool`, got `str`."),
        ("allow_hosts", "a.example", "Settings(allow_hosts='a.example'): Expected `array`, got "),
        ("rate_limits", 600, "Settings(rate_limits=600): Expected `object`, got `int`."),
        ("max_body", True, "Settings(max_body=True): Expected `int`, got `bool`."),
    ],
)
def test_a_setting_is_checked(argument: str, value: Any, said: str) -> None:
    settings: Any = Settings
    with pytest.raises(InvalidArgumentError) as caught:
        settings(**{argument: value})

    assert str(caught.value).startswith(said)


def test_a_setting_may_be_infinite_and_a_rate_limit_not_negative() -> None:
    assert Settings(run_timeout=math.inf, file_expiry=1).file_expiry == 1
    with pytest.raises(InvalidArgumentError, match=r"^RateLimits\(get=-1\): Expected `int` >= 0"):
        RateLimits(get=-1)


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("concurrency", "2", "concurrency='2' must be an int, 1 or more."),
        ("visibility", "secret", "visibility='secret' must be one of 'public', 'private'."),
        ("official", "no", "official='no' must be True or False."),
        ("hidden", "no", "hidden='no' must be True or False."),
    ],
)
def test_an_option_of_a_model_is_checked(argument: str, value: Any, said: str) -> None:
    def noop() -> int:
        return 1

    register: Callable[..., Any] = LocalReplicate().model
    with pytest.raises(InvalidArgumentError) as caught:
        register("acme/noop", **{argument: value})(noop)

    assert str(caught.value).startswith(said)
