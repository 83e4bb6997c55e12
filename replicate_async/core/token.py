"""The API token and the caller's headers, in a wrapper that no repr, vars() or traceback shows."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn
from urllib.parse import quote, unquote

_COVER: Final = "[hidden]"
_PIECE: Final = 6
"""Each part of `_FEWEST` characters has a piece of this length that begins at a multiple."""
_FEWEST: Final = 12
"""Characters of a part of a token that is covered; a shorter one may be a word by chance."""
_SHORTEST: Final = 8
"""Characters of a token that is looked for in binary data, and of a header's value in any."""

_ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|\\(.)", re.DOTALL)

_SECRET_WORD: Final = re.compile(
    r"(?=[\w.~-]*[0-9])(?=[\w.~-]*[a-z])[\w.~-]{16,}", re.ASCII | re.IGNORECASE
)

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


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(
        lambda match: chr(int(match[1] or match[2], 16)) if match[1] or match[2] else match[3], text
    )


def _unescaped_html(text: str) -> str:
    import html  # noqa: PLC0415 - 2 ms for its table of names; seldom needed

    return html.unescape(text)


def _narrow(text: str) -> str:
    """Return *text* of two bytes a character as text of one."""
    return text.replace("\0", "")


_ESCAPED_TWICE: Final = 2
_ESCAPES: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("\\", _unescaped),  # of JSON and source code
    ("%", unquote),
    ("&", _unescaped_html),
    ("\0", _narrow),
)


def secret_words(text: str) -> list[str]:
    """Return the words of *text* that may be secrets: long ones of letters and digits."""
    return _SECRET_WORD.findall(text)


class Token:
    """What authenticates a client: an API token, headers, or both; only `fields` has their text."""

    __slots__ = ("_fields", "_headers", "_looks", "_text")

    def __init__(self, text: str | None, headers: Mapping[str, str] | None = None) -> None:
        """Wrap *text*, in which `flaw` finds nothing, and *headers* that go with it."""
        given = dict(headers or {})
        secrets = [] if text is None else [text]
        secrets += [secret for value in given.values() for secret in _secrets_of(value)]
        # In closures: vars(), debuggers and error reporters print attributes.
        self._text: Callable[[], str | None] = lambda: text
        self._headers: Callable[[], dict[str, str]] = lambda: given
        own = {} if text is None else {"Authorization": f"Bearer {text}"}
        self._fields: Callable[[], dict[str, str]] = lambda: own | given
        self._looks: Callable[[], tuple[_Look, ...]] = lru_cache(
            lambda: tuple(_Look.of(secret) for secret in dict.fromkeys(secrets))
        )

    @staticmethod
    def flaw(text: object) -> str | None:
        """Return what is wrong with *text*, without its text; None if it may be a token."""
        # Not raised: the frame of a traceback would hold the text.
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
    def fields(self) -> Mapping[str, str]:
        """The header fields that authenticate a request, and the caller's other ones."""
        return self._fields()

    @property
    def header_names(self) -> frozenset[str]:
        """The names of the headers, in lower case."""
        return frozenset(name.lower() for name in self._headers())

    def with_headers_of(self, other: Token) -> Token:
        """Return this token with the headers of *other*."""
        return Token(self._text(), other._headers())

    def redact(self, text: str) -> str:
        """Return *text* from a server with the token, and parts of it, replaced by "[hidden]".

        The same holds for the values of headers. A text with a secret in an escaped form is
        replaced whole. Call it before *text* is cut, and on every text of an answer that an error
        shows.
        """
        for look in self._looks():
            text = look.redact(text)
        return text

    def is_in(self, data: bytes) -> bool:
        """Whether *data* holds the token, or a form of it in URLs or base64.

        False for a token of fewer than 8 characters, which may be there by chance.
        """
        return any(
            len(look.token) >= _SHORTEST
            and any(form.encode() in data for form in (look.token, *look.encoded))
            for look in self._looks()
        )

    def __repr__(self) -> str:
        return "<Token hidden>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A client cannot be pickled or deep-copied: its token would be in clear.")


class _Look(NamedTuple):
    """The forms of a token in text."""

    token: str
    encoded: tuple[str, ...]
    """Its forms in URLs and in base64."""
    clue: re.Pattern[str]
    """Matches in every text that may hold it."""

    @classmethod
    def of(cls, token: str) -> _Look:
        encoded = tuple(dict.fromkeys(form for form in _encoded(token) if form != token))
        clues = [token, *encoded, *_pieces(token)]
        return cls(token, encoded, re.compile("|".join([*map(re.escape, clues), r"[%\\&\0]"])))

    def redact(self, text: str) -> str:
        """Return *text* without the token."""
        if self.clue.search(text) is None:
            return text
        for form in self.encoded:
            text = text.replace(form, _COVER)
        text = _without(self.token, text)
        plain = text
        for _ in range(_ESCAPED_TWICE):
            for mark, unescaped in _ESCAPES:
                if mark in plain:
                    plain = unescaped(plain)
                    if self.token in plain:
                        return _COVER
        return text


def _secrets_of(value: str) -> list[str]:
    """Return the parts of a header's *value* that may be secrets, such as all behind "Bearer"."""
    scheme, _, rest = value.partition(" ")
    found = [value, rest] if scheme.isalpha() else [value]
    return [part for part in found if len(part) >= _SHORTEST]


def _encoded(token: str) -> Iterator[str]:
    yield quote(token, safe="")
    if len(token) < _FEWEST:
        return
    for ahead in range(3):
        whole = b64encode(b"\0" * ahead + token.encode()).decode().rstrip("=")
        # Without the characters that depend on its neighbours.
        inner = whole[(ahead * 8 + 5) // 6 : (ahead + len(token)) * 8 // 6]
        yield inner
        yield inner.translate({ord("+"): "-", ord("/"): "_"})


def _pieces(token: str) -> list[str]:
    if len(token) < 2 * _FEWEST:
        return []
    return [token[at : at + _PIECE] for at in range(0, len(token) - _PIECE + 1, _PIECE)]


def _without(token: str, text: str) -> str:
    """Return *text* with *token*, and each part of `_FEWEST` characters of it, covered."""
    text = text.replace(token, _COVER)
    # Begins and ends: several pieces may find the same part.
    parts: dict[int, int] = {}
    for number, piece in enumerate(_pieces(token)):
        at = text.find(piece)
        while at >= 0:
            begin, end = _grown(token, text, number * _PIECE, at)
            if end - begin >= _FEWEST:
                parts[begin] = max(end, parts.get(begin, 0))
            at = text.find(piece, end)
    kept: list[str] = []
    shown = 0
    for begin, end in sorted(parts.items()):
        if begin >= shown:
            kept += (text[shown:begin], _COVER)
        shown = max(shown, end)
    return "".join((*kept, text[shown:])) if parts else text


def _grown(token: str, text: str, offset: int, at: int) -> tuple[int, int]:
    """Return begin and end of the part of *token* in *text* whose character *offset* is *at*."""
    begin, first = at, offset
    while begin and first and text[begin - 1] == token[first - 1]:
        begin, first = begin - 1, first - 1
    end, last = at + _PIECE, offset + _PIECE
    while end < len(text) and last < len(token) and text[end] == token[last]:
        end, last = end + 1, last + 1
    return begin, end
