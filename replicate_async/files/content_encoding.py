"""The Content-Encoding of files, as storage services write it."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

# Values that storage services send with bytes that are not encoded.
_PLAIN: Final = frozenset(
    {"", "identity", "aws-chunked", "none", "null", "utf-8", "utf8", "binary", "7bit", "8bit"}
)
_ALIASES: Final = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3
KNOWN: Final = frozenset({"gzip", "deflate"})
"""The encodings that a `Decompressor` reads."""

_STEP: Final = 256 * 1024
_GZIP: Final = b"\x1f\x8b"
_HEADERS: Final = {0x08, 0x0F}
"""The low halves of the first bytes of zlib's header and of gzip's; bare deflate has neither."""


def content_encodings(headers: Sequence[str]) -> list[str]:
    """Return the encodings in the *headers* that change the bytes, in their order."""
    names = (name.strip().lower() for name in ",".join(headers).split(","))
    return [_ALIASES.get(name, name) for name in names if name not in _PLAIN]


class Decompressor:
    """Decompresses the gzip or deflate that *read* returns, at most 256 KiB at a time.

    The file may have several gzip members. aiohttp takes one that breaks off for complete. An empty
    body is an empty file: storage services send the header for each file that was stored with it.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes]], encoding: str) -> None:
        self._read = read
        self._encoding = encoding
        self._begun = False
        self._member = zlib.decompressobj(wbits=47)  # either of the two
        self._input: bytes = b""

    async def read(self) -> bytes:
        """Return the next bytes, none at the end.

        Raises `zlib.error`, and `EOFError` if the input ends within a member.
        """
        while True:
            at_end = self._member.eof
            if not self._input or (at_end and self._input == _GZIP[:1]):
                received = await self._read()
                if not received:
                    if at_end or not self._begun:
                        return b""
                    raise EOFError
                self._input += received
            if not self._begun:
                self._begun = True
                # As browsers do: some hosts leave out the header (RFC 9110, 8.4.1.2).
                if self._encoding == "deflate" and self._input[0] & 0x0F not in _HEADERS:
                    self._member = zlib.decompressobj(wbits=-15)
            if at_end:
                if not self._input.startswith(_GZIP):  # padding after the last member
                    self._input = b""
                    continue
                self._member = zlib.decompressobj(wbits=31)
            out = self._member.decompress(self._input, _STEP)
            self._input = self._member.unconsumed_tail or self._member.unused_data
            if out:
                return out
