"""The form in which an input that was sent is kept in the journal, and compared with the list.

It is the JSON that was sent, with whole numbers as integers. In place of the bytes of a data URL it
has their number, their SHA-256 and the first kilobyte, in a data URL of its own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final, TypeGuard

import msgspec

from replicate_async.errors import FileError
from replicate_async.files.data_url import decode
from replicate_async.runs.batch.json_tree import map_leaves

_HEAD: Final = 1024
"""Bytes of a file that are kept, to tell a file that is cut from another one."""
_WHOLE: Final = 2**53  # up to here floats are exact
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(;[^\s,]*)?,", re.ASCII | re.IGNORECASE)
_SHORT: Final = re.compile(r"data:;sha256=(\w{64});size=(\d+);base64,([\w+/=]*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileContent:
    """What is known of the bytes in a data URL."""

    sha256: str
    size: int
    head: bytes
    """The first kilobyte."""


def normalize(values: object) -> object:
    """Return JSON values with whole numbers as integers, and files by what is known of them."""
    return map_leaves(values, _normalized)


def canonical(values: object) -> bytes:
    """Return the JSON that is kept and compared, which is the same for equal inputs."""
    return msgspec.json.encode(normalize(values), order="deterministic", enc_hook=repr)


def content_of(url: str) -> FileContent | None:
    """Return what is known of the file in a normalized data URL; None if it is not decodable."""
    found = _SHORT.fullmatch(url)
    return found and FileContent(found[1], int(found[2]), base64.b64decode(found[3]))


def is_data_url(leaf: object) -> TypeGuard[str]:
    """Whether a value is a data URL, and no text that begins like one."""
    return isinstance(leaf, str) and _DATA_URL.match(leaf) is not None


def _normalized(leaf: object) -> object:
    if isinstance(leaf, str):
        return _shortened(leaf) if is_data_url(leaf) else leaf
    if isinstance(leaf, float) and leaf.is_integer() and abs(leaf) < _WHOLE:
        return int(leaf)
    return leaf


def _shortened(url: str) -> str:
    if _SHORT.fullmatch(url):
        return url
    try:
        content = decode(url)
    except FileError:
        return url
    head = base64.b64encode(content[:_HEAD]).decode()
    return f"data:;sha256={hashlib.sha256(content).hexdigest()};size={len(content)};base64,{head}"
