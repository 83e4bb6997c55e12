"""Data URLs: files that stand in the output itself."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from replicate_async.core.endpoint import shorten
from replicate_async.errors import FileError, FileTooLargeError

LARGEST: Final = 100 * 1024 * 1024
"""Characters of a data URL; more cannot come in an answer of the API."""

_HEAD: Final = re.compile(
    r"data:((?:[!#$%&'*+.^`|~\w-]+/[!#$%&'*+.^`|~\w-]+)?(?:;[\w!#$&+.^-]+=[^;,\"]*)*)(;base64)?,",
    re.ASCII | re.IGNORECASE,
)
_LONGEST_HEAD: Final = 512
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def is_base64(url: str) -> bool:
    """Return whether *url* is a data URL with a media type, in base64."""
    match = _HEAD.match(url, 0, _LONGEST_HEAD)
    return match is not None and bool(match[1] and match[2])


def media_type(url: str) -> str:
    """Return the media type that a data URL names, without parameters."""
    match = _HEAD.match(url, 0, _LONGEST_HEAD)
    kind = match[1].partition(";")[0].lower() if match is not None else ""
    return kind or "text/plain"


def decode(url: str) -> bytes:
    """Return the bytes of a data URL; raises `FileError` when it is none, or malformed."""
    if len(url) > LARGEST:
        raise FileTooLargeError(
            f"The data URL has {len(url):,} characters; {LARGEST:,} at most are decoded."
        )
    match = _HEAD.match(url, 0, _LONGEST_HEAD)
    if match is None:
        raise FileError(f"{shorten(url[:100])} is not a well-formed data URL.")
    data = url[match.end() :]
    if not data.isascii() or _STRAY_PERCENT.search(data):
        raise FileError(
            f"{shorten(url[:100])} is not a well-formed data URL: it is not URL-encoded."
        )
    octets = unquote_to_bytes(data) if "%" in data else data.encode()
    if not match[2]:
        return octets
    try:
        return base64.b64decode(octets, validate=True)
    except binascii.Error as error:
        raise FileError(f"{shorten(url[:100])} is not valid base64: {error}.") from None
