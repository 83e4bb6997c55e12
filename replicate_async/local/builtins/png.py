"""PNG files, written with nothing but zlib."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_RGB: Final = 2


def png(width: int, height: int, rows: Iterable[bytes]) -> bytes:
    """Return a PNG of *rows*, each of them *width* times three bytes: red, green and blue."""
    # The filter of each row; zero is none.
    pixels = b"".join(b"\0" + row for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, _RGB, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(pixels, level=6)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
