"""Checks of arguments; each raises `InvalidArgumentError`, which names the argument."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from replicate_async.core.endpoint import shorten
from replicate_async.core.numbers import is_number
from replicate_async.errors import InvalidArgumentError

_DAY: Final = 86_400


def check_flags(**flags: object) -> None:
    """Check that each of *flags* is True or False: every text would count as true."""
    for argument, value in flags.items():
        if not isinstance(value, bool):
            raise InvalidArgumentError(f"{argument}={shorten(value)} must be True or False.")


def check_seconds(argument: str, value: object, least: float = 0.0) -> None:
    """Check that *value* is a number of seconds from *least* to a day."""
    if not is_number(value, least, _DAY):
        raise InvalidArgumentError(
            f"{argument}={shorten(value)} must be a number of seconds from {least:g} to {_DAY:,}."
        )


def check_count(
    argument: str, value: object, least: int, most: int, *, optional: bool = True
) -> None:
    """Check that *value* is an int in the range, or None if it is *optional*."""
    if value is None and optional:
        return
    if not isinstance(value, int) or not is_number(value, least, most):
        limits = f" from {least} to {most}" if most < sys.maxsize else f", {least} or more"
        raise InvalidArgumentError(f"{argument}={shorten(value)} must be an int{limits}.")


def check_choice(argument: str, value: str | None, choices: Sequence[str]) -> None:
    """Check that *value* is None or one of *choices*."""
    if value is not None and value not in choices:
        raise InvalidArgumentError(
            f"{argument}={shorten(value)} must be one of {', '.join(map(repr, choices))}."
        )


def check_text(argument: str, value: object) -> None:
    """Check that *value* is a string that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError(f"{argument}={shorten(value)} must be a string, and not empty.")


def check_functions(**functions: object) -> None:
    """Check that each of *functions* is None or can be called."""
    for argument, value in functions.items():
        if value is not None and not callable(value):
            raise InvalidArgumentError(f"{argument}={shorten(value)} must be a function, or None.")


def check_instance(argument: str, value: object, kind: type) -> None:
    """Check that *value* is a *kind*."""
    if not isinstance(value, kind):
        raise InvalidArgumentError(
            f"{argument}={shorten(value)} is a {type(value).__name__}; pass a {kind.__name__}."
        )
