"""Comparing a file of an input with a file in the list of predictions."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Final

from replicate_async.errors import FileError
from replicate_async.files.data_url import decode

_HEAD: Final = 1024
"""Bytes of a file that are kept, to tell a file that is cut from another one."""
_UPLOAD: Final = re.compile(r"https?://[^?#\s]+/files/([\w=-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What is known of a file: its URL, its content, or both."""

    url: str | None = None
    sha256: str | None = None
    size: int | None = None
    """Bytes, if it is or may be sent as a data URL; None for an upload."""
    head: bytes = b""
    """Its first kilobyte, with a *size*."""
    may_change: bool = False
    """Whether the item may have another file at each run."""


def file_of_bytes(content: bytes) -> KnownFile:
    """Return the file that holds *content*."""
    digest = hashlib.sha256(content).hexdigest()
    return KnownFile(sha256=digest, size=len(content), head=content[:_HEAD])


def upload_id(url: str) -> str | None:
    """Return the ID of the upload that *url* names, None if it names none."""
    found = _UPLOAD.fullmatch(url)
    return None if found is None else found[1]


def file_of_url(url: str) -> KnownFile | None:
    """Return the file that *url* stands for, None for a data URL that cannot be decoded."""
    if url[:5].lower() != "data:":
        return KnownFile(url=url)
    try:
        return file_of_bytes(decode(url))
    except FileError:  # it may be cut
        return None


def is_same_file(ours: KnownFile, shown: object) -> bool:
    """Return whether *shown*, a URL or a file, is certainly the file *ours*."""
    url = shown.url if isinstance(shown, KnownFile) else shown
    if ours.url is not None and isinstance(url, str) and _path(ours.url) == _path(url):
        return True
    return isinstance(shown, KnownFile) and ours.sha256 is not None and ours.sha256 == shown.sha256


def is_other_file(ours: KnownFile, shown: object) -> bool:
    """Return whether *shown*, a URL or a file, is certainly not the file *ours*.

    A URL in another place may be ours: the list may show a file under another URL than it was sent
    with. So may a data URL whose content is the beginning of ours: the list may cut it.
    """
    if ours.may_change or is_same_file(ours, shown):
        return False
    if isinstance(shown, KnownFile) and shown.size is not None:  # a data URL
        is_cut = shown.size < (ours.size or 0) and ours.head.startswith(shown.head)
        return not is_cut
    if isinstance(shown, KnownFile) and ours.sha256 is not None and shown.sha256 is not None:
        return True
    url = shown.url if isinstance(shown, KnownFile) else shown
    return ours.url is not None and isinstance(url, str) and _is_neighbour(ours.url, url)


def changeable(file: KnownFile) -> KnownFile:
    """Return *file* as one that may be another at each run."""
    return replace(file, may_change=True)


def _path(url: str) -> str:
    return url.partition("?")[0].partition("#")[0]


def _is_neighbour(ours: str, shown: str) -> bool:
    """Return whether two URLs differ in their last part only, and neither is the other, cut."""
    left, right = _path(ours), _path(shown)
    if left.rpartition("/")[0] != right.rpartition("/")[0]:
        return False
    return not left.startswith(right) and not right.startswith(left)
