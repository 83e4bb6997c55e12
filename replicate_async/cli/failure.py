"""What ends a command, and what is said about it."""

from __future__ import annotations

import re
from typing import Final

FAILED: Final = 1
USAGE: Final = 2

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
