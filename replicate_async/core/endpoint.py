"""An operation of the API as a value: method, path, request and response types.

The client's methods, the embedded server's routes, the generated OpenAPI document and the reference
page read the same values, so they cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Final, Generic, Literal, TypeVar, cast
from urllib.parse import quote, urlencode

import msgspec

R = TypeVar("R")

Method = Literal["GET", "POST", "PATCH", "DELETE", "QUERY"]
Media = Literal["application/json", "text/plain", "multipart/form-data"]
Bucket = Literal["create", "get", "other"]

_PARAMETER = re.compile(r"\{(\w+)\}")
# A slash or a dot segment would name another resource; a proxy that decodes the path before it
# routes would read "?", "#" and "%" again.
_UNSAFE = re.compile(r"[\x00-\x20\x7f/\\?#%]")
_LONGEST_SEGMENT = 512


class SegmentError(ValueError):
    """A path parameter that is not one plain segment of a URL."""

    def __init__(self, name: str, value: object, problem: str) -> None:
        super().__init__(name, value, problem)
        self.name = name
        self.value = value
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.name}={shorten(self.value)} {self.problem}"


def shorten(value: object, limit: int = 80) -> str:
    """Return the repr of *value*, at most *limit* characters of it."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the caller's own class; its error would hide ours
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def exact(value: object) -> object:
    """Return *value*, an instance of a subclass of a JSON type, as an instance of that type.

    msgspec refuses subclasses, such as the strings of NumPy and of template engines.
    """
    for kind, convert in _EXACT:
        if issubclass(type(value), kind):
            return convert(value)  # not str(value): the subclass may override __str__
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent as JSON")


# In this order: an int is an Integral, too.
_EXACT: Final[tuple[tuple[type, Callable[[Any], object]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (datetime, lambda value: datetime.fromisoformat(datetime.isoformat(value))),
    (Integral, int),
    (Real, float),
)
_ENCODE: Final = msgspec.json.Encoder(enc_hook=exact)


class Endpoint(msgspec.Struct, Generic[R], frozen=True, dict=True):
    """One operation of the API."""

    method: Method
    path: str
    """Path template below ``/v1``, such as ``/predictions/{prediction_id}``."""
    returns: type[R]
    """Type of the answer's body; `str` is text, `bytes` a file, ``type(None)`` no body."""
    takes: type | None = None
    """Type of the request's body; `str` is plain text."""
    query: type[msgspec.Struct] | None = None
    """Query parameters, each a field."""
    headers: type[msgspec.Struct] | None = None
    """Request headers, each a field whose encoded name is the header's."""
    media: Media = "application/json"
    """Media type of the request's body."""
    status: tuple[int, ...] = (200,)
    """Documented success statuses, the usual one first."""
    idempotent: bool = False
    """Whether a POST or PATCH may be sent twice without a second effect."""
    bucket: Bucket = "other"
    """The rate limit that it counts against: 600, 60,000 or 3,000 requests a minute."""
    no_cache: bool = False
    """Whether to bypass caches on the way: a stale state would never end a wait."""

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when the outcome of the first attempt is unknown."""
        return self.idempotent or self.method in {"GET", "QUERY", "DELETE"}

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters, in order."""
        return self._template[1]

    @cached_property
    def _template(self) -> tuple[str, tuple[str, ...]]:
        """The path with %s for each parameter, and their names."""
        return _PARAMETER.sub("%s", self.path), tuple(_PARAMETER.findall(self.path))

    def target(self, path: Mapping[str, str], query: msgspec.Struct | str | None = None) -> str:
        """Return path and query, percent-encoded once.

        Raises `SegmentError` for a parameter that is not one plain path segment.
        """
        target, names = self._template
        for name in names:
            target = target.replace("%s", segment(name, path[name]), 1)
        if query is None:
            return target
        encoded = query if isinstance(query, str) else encode_query(query)
        return f"{target}?{encoded}" if encoded else target

    def encode(self, body: object) -> bytes:
        """Return the bytes of a JSON or text *body*."""
        if isinstance(body, str):
            return body.encode()
        return _ENCODE.encode(body)

    @cached_property
    def accept(self) -> str:
        """The value of the Accept header."""
        return _ACCEPT.get(self.returns, "application/json")

    @cached_property
    def decode(self) -> Callable[[bytes], R]:
        """Decodes a body; raises `msgspec.DecodeError`."""
        return _READERS.get(self.returns) or msgspec.json.Decoder(self.returns).decode


_ACCEPT: Final[Mapping[type, str]] = {str: "text/plain", bytes: "application/octet-stream"}
_READERS: Final[Mapping[type, Callable[[bytes], Any]]] = {
    type(None): lambda _: None,
    bytes: bytes,
    str: lambda body: body.decode(errors="replace"),
}


def segment(name: str, value: object) -> str:
    """Return *value* as one percent-encoded path segment, or raise `SegmentError`."""
    if not isinstance(value, str):
        raise SegmentError(name, value, f"is {type(value).__name__}, not a string")
    if value.isalnum() and value.isascii() and len(value) <= _LONGEST_SEGMENT:
        return value  # nearly every id
    if not value:
        raise SegmentError(name, value, "is empty")
    if not value.strip("."):
        raise SegmentError(name, value, "is a dot segment, which names another resource")
    if len(value) > _LONGEST_SEGMENT:
        raise SegmentError(name, value, f"is longer than {_LONGEST_SEGMENT} characters")
    found = _UNSAFE.search(value)
    if found:
        raise SegmentError(name, value, f"contains {found.group()!r}, which no id has")
    try:
        return quote(value, safe=":@=+,;~!$&'()*")
    except UnicodeEncodeError:
        raise SegmentError(name, value, "is not valid Unicode") from None


def encode_query(query: msgspec.Struct | None) -> str:
    """Return the query string of *query*, without the fields that were left out."""
    if query is None:
        return ""
    # Through msgspec first, so that a datetime is written as the API reads it.
    fields = cast("dict[str, Any]", msgspec.to_builtins(query, enc_hook=exact))
    return urlencode({name: value for name, value in fields.items() if value is not None})


def encode_headers(headers: msgspec.Struct) -> dict[str, str]:
    """Return the header fields of *headers*, without those that were left out."""
    fields = cast("dict[str, str | None]", msgspec.to_builtins(headers, enc_hook=exact))
    return {name: value for name, value in fields.items() if value is not None}
