"""Decoding data URLs, as browsers do.

The rules are the "data: URL processor" of the Fetch standard and the "forgiving-base64 decode" of
the Infra standard.
"""

from __future__ import annotations

import base64
import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from replicate_async.core.endpoint import shorten
from replicate_async.errors import FileError, FileTooLargeError

LARGEST: Final = 100 * 1024 * 1024
"""Characters of a data URL; an answer of the API cannot hold more."""

_SCHEME: Final = "data:"
_MEDIA: Final = re.compile(r"[!#$%&'*+.^`|~\w-]+/[!#$%&'*+.^`|~\w-]+", re.ASCII)
_BASE64: Final = re.compile(r"; *base64\Z", re.ASCII | re.IGNORECASE)
_LONGEST_HEAD: Final = 512
"""Characters before the comma of a string that is recognized as a data URL."""
_DROPPED: Final = str.maketrans("", "", "\t\n\r")
_SPACES: Final = "\t\n\f\r "
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]")


class _Head(NamedTuple):
    """The part of a data URL before its data."""

    media: str
    """The media type in lower case, without parameters; may be empty."""
    is_base64: bool
    end: int
    """Where the data begins."""


def _read_head(url: str, longest: int | None = None) -> _Head | None:
    if url[: len(_SCHEME)].lower() != _SCHEME:
        return None
    comma = url.find(",", 0, longest)
    if comma < 0:
        return None
    head = url[len(_SCHEME) : comma].translate(_DROPPED).strip(_SPACES)
    encoded = _BASE64.search(head)
    media = head.partition(";")[0].strip(_SPACES).lower()
    media = media if _MEDIA.fullmatch(media) else ""
    return _Head(media, encoded is not None, comma + 1)


def is_base64(url: str) -> bool:
    """Return whether *url* is a data URL with a media type, in base64."""
    head = _read_head(url, _LONGEST_HEAD)
    return head is not None and head.is_base64 and bool(head.media)


def media_type(url: str) -> str:
    """Return the media type of a data URL, without parameters."""
    head = _read_head(url)
    return (head.media if head is not None else "") or "text/plain"


def decode(url: str) -> bytes:
    """Return the bytes of a data URL; raises `FileError` if it is malformed."""
    if len(url) > LARGEST:
        raise FileTooLargeError(
            f"The data URL has {len(url):,} characters; {LARGEST:,} at most are decoded."
        )
    head = _read_head(url)
    if head is None:
        raise FileError(
            f"{shorten(url[:100])} is not a well-formed data URL: it has no comma before its data."
        )
    data = url[head.end :].partition("#")[0].translate(_DROPPED).rstrip(" ")
    octets = unquote_to_bytes(data.encode(errors="surrogatepass"))
    if not head.is_base64:
        return octets
    return _forgiving_base64(octets, url)


def _forgiving_base64(octets: bytes, url: str) -> bytes:
    """Decode base64, which may contain white space and lack padding."""
    digits = octets.translate(None, _SPACES.encode())
    if len(digits) % 4 == 0:
        digits = digits[:-2] + digits[-2:].rstrip(b"=") if digits.endswith(b"=") else digits
    if len(digits) % 4 == 1 or _NOT_BASE64.search(digits):
        raise FileError(f"{shorten(url[:100])} is not valid base64, so its bytes are unknown.")
    return base64.b64decode(digits + b"=" * (-len(digits) % 4))
