"""The API token, wrapped so that it shows itself nowhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NoReturn

_FLAWS: Final = tuple(
    (re.compile(pattern, re.ASCII | re.IGNORECASE), flaw)
    for pattern, flaw in (
        (
            r"^(none|null|nil|undefined|nan|true|false)$",
            "is the name of an empty value and no token; look where it is set",
        ),
        (
            r"^(authorization:|bearer([^\w-]|$))",
            "begins like an Authorization header; give the token alone",
        ),
        (r"[\"'`]", "has quotes in it; give the token alone, without quotes"),
        (
            r"[<>${}]|^%.*%$",
            "is a placeholder that was not filled in; put the token itself in its place",
        ),
        (
            r"^[a-z_]\w*=+[^=]",
            "begins with a name and an equals sign; give only what comes after it",
        ),
    )
)


class Token:
    """An API token; its text comes out as a header's value only."""

    __slots__ = ("_bearer",)

    def __init__(self, text: str) -> None:
        """Wrap *text*, in which `flaw` finds nothing."""
        # In a closure and not an attribute: vars(), debuggers and error reporters print those.
        self._bearer: Callable[[], str] = lambda: f"Bearer {text}"

    @staticmethod
    def flaw(text: object) -> str | None:
        """Return what is wrong with *text*, without showing it; None if it may be a token."""
        # Returned and not raised: a traceback would hold the frame, and the frame the text.
        if not isinstance(text, str):
            return f"is a {type(text).__name__}; it must be a string"
        if not text:
            return "is empty"
        if not text.isascii() or not text.isprintable() or " " in text:
            return (
                f"has a space, a line break or another character that no token has ({len(text)} "
                'characters in all); give the token alone, without "Bearer" and without quotes'
            )
        return next((flaw for pattern, flaw in _FLAWS if pattern.search(text)), None)

    @property
    def bearer(self) -> str:
        """The value of an Authorization header."""
        return self._bearer()

    def hidden_in(self, body: bytes) -> bytes:
        """Return *body* without the token, for a server that echoes it."""
        return body.replace(self._bearer()[len("Bearer ") :].encode(), b"[hidden]")

    def __repr__(self) -> str:
        return "<Token hidden>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A client cannot be pickled or deep-copied: its token would be in clear.")
