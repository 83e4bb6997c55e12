"""The API token, wrapped so that it shows itself nowhere."""

from __future__ import annotations

from typing import NoReturn


class Token:
    """An API token; its text comes out as a header's value only."""

    __slots__ = ("_bearer",)

    def __init__(self, text: str) -> None:
        """Check *text*; raises `ValueError`, whose message does not show it."""
        if not text:
            raise ValueError("is empty")
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(
                f"has a space, a line break or another character that no token has ({len(text)} "
                'characters in all); give the token alone, without "Bearer" and without quotes'
            )
        # In a closure and not an attribute: vars(), debuggers and error reporters print those.
        self._bearer = lambda: f"Bearer {text}"

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


class SecretHeaders(dict[str, str]):
    """Request headers that do not show their values where a traceback prints its locals."""

    def __repr__(self) -> str:
        return f"<SecretHeaders {', '.join(self)}>"
