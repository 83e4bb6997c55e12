"""The Content-Encoding of files, as storage services write it."""

from __future__ import annotations

import zlib
from typing import Final

# Values that storage services send with bytes that are not encoded.
_PLAIN: Final = frozenset(
    {"", "identity", "aws-chunked", "none", "null", "utf-8", "utf8", "binary", "7bit", "8bit"}
)
_ALIASES: Final = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3
DECODED_BY_AIOHTTP: Final = frozenset({"gzip", "deflate", "br", "zstd"})
"""Encodings that aiohttp decodes, when the header is exactly one of them in any case."""

_STEP: Final = 256 * 1024
_GZIP: Final = b"\x1f\x8b"


def content_encoding(header: str) -> str:
    """Return the encodings in *header* that change the bytes; empty for none."""
    names = (name.strip().lower() for name in header.split(","))
    return ", ".join(_ALIASES.get(name, name) for name in names if name not in _PLAIN)


class Gunzip:
    """Decompresses gzip members, at most 256 KiB at a time."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._input = b""

    @property
    def finished(self) -> bool:
        """Whether the input so far ends with a whole member."""
        return self._member.eof and not self._input

    def feed(self, data: bytes) -> None:
        """Add compressed *data*, after `take` has returned all earlier data."""
        self._input += data

    def take(self) -> bytes:
        """Return the next bytes, none when more input is needed; raises `zlib.error`."""
        while self._input:
            if self._member.eof:
                if not self._input.startswith(_GZIP):  # padding after the last member
                    self._input = b""
                    return b""
                self._member = zlib.decompressobj(wbits=31)
            out = self._member.decompress(self._input, _STEP)
            self._input = self._member.unconsumed_tail or self._member.unused_data
            if out:
                return out
        return b""
