"""Names of files that came from strangers, made safe to write, to link to and to say."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

_LONGEST: Final = 200
"""Bytes; file systems take 255."""
_UNSAFE: Final = re.compile(r'[<>:"|?*{}\x7f]')


def safe_name(name: str, default: str) -> str:
    """Return *name* as one plain file name: no folders, no control characters, no wildcards.

    A name too long is cut at its front, so that it keeps its extension.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(letter if letter.isprintable() else "_" for letter in last)
    kept = _UNSAFE.sub("_", printable).strip(". ")
    encoded = kept.encode("utf-8", "replace")[-_LONGEST:]
    return encoded.decode("utf-8", "ignore").lstrip(". ") or default


def content_disposition(kind: str, name: str) -> str:
    """Return the header for a file of a safe *name*: *kind* is "inline" or "attachment"."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    header = f'{kind}; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"
