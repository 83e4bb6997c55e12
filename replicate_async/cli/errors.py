"""Errors that end a command, and their text: one line, without tokens."""

from __future__ import annotations

import os
import re
from typing import Final

FAILED: Final = 1
USAGE: Final = 2

_TOKEN: Final = re.compile(r"r8_[A-Za-z0-9_-]{4,}")
_VARIABLES: Final = ("REPLICATE_API_TOKEN", "REPLICATE_LOCAL_TOKEN")
_SHORTEST: Final = 8
"""Characters; a shorter token is not looked for in messages, where it may be a word."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class CommandError(Exception):
    """A command cannot go on; the message is one line, *listing* is printed below it."""

    code: int = FAILED

    def __init__(self, message: str, listing: str = "") -> None:
        super().__init__(message)
        self.listing = listing


class UsageError(CommandError):
    """The arguments of a command are wrong."""

    code = USAGE


def is_utf8(argument: str) -> bool:
    """Return whether *argument* was given in UTF-8, as all but the name of a file must be."""
    return argument.encode(errors="ignore").decode() == argument


def one_line(text: object) -> str:
    """Return *text* on one line, without control characters."""
    return " ".join(_CONTROL.sub(" ", str(text)).split())


def without_tokens(text: str) -> str:
    """Return *text* without API tokens: what looks like one, and those of the environment."""
    for variable in _VARIABLES:
        token = os.environ.get(variable, "").strip()
        if len(token) >= _SHORTEST:
            text = text.replace(token, "[hidden]")
    return _TOKEN.sub("[hidden]", text)
