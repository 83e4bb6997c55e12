"""What ends a command, and what is said about it."""

from __future__ import annotations

import os
import re
from typing import Final

FAILED: Final = 1
USAGE: Final = 2

_TOKEN: Final = re.compile(r"r8_[A-Za-z0-9_-]{4,}")
_VARIABLES: Final = ("REPLICATE_API_TOKEN", "REPLICATE_LOCAL_TOKEN")
_SHORTEST: Final = 8
"""Characters of a token that is looked for in messages; a shorter one may be a word of theirs."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class CommandError(Exception):
    """A command that cannot go on; the message is one line, and *listing* what may follow it."""

    code: int = FAILED

    def __init__(self, message: str, listing: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.listing = listing
        if code is not None:
            self.code = code


class UsageError(CommandError):
    """A command that was written wrongly."""

    code = USAGE


def one_line(text: object) -> str:
    """Return *text* on one line, without anything that a terminal would obey."""
    return " ".join(_CONTROL.sub(" ", str(text)).split())


def without_tokens(text: str) -> str:
    """Return *text* without API tokens: what looks like one, and those of the environment."""
    for variable in _VARIABLES:
        token = os.environ.get(variable, "").strip()
        if len(token) >= _SHORTEST:
            text = text.replace(token, "[hidden]")
    return _TOKEN.sub("[hidden]", text)
