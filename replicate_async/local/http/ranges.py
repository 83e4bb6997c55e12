"""Ranges and conditional requests by RFC 9110: which bytes of a file an answer holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

_RANGE: Final = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)
_ETAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')


class Span(NamedTuple):
    """The bytes from *start* to *stop*, which is not included."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many bytes these are."""
        return self.stop - self.start


class Selection(NamedTuple):
    """The status of an answer, and its bytes if it has a body."""

    status: int
    span: Span | None = None


def select(method: str, headers: Mapping[str, str], *, etag: str, size: int) -> Selection:
    """Return the answer to a GET or HEAD of *size* bytes with a strong *etag*.

    The status is 200, 206, 304, 412 (``If-Match`` names other content) or 416. Several ranges at
    once are answered with all bytes, as is a range of other content than ``If-Range`` names.
    """
    if "If-Match" in headers and not _names(headers["If-Match"], etag, weak=False):
        return Selection(412)
    if "If-None-Match" in headers and _names(headers["If-None-Match"], etag, weak=True):
        return Selection(304)
    whole = Selection(200, Span(0, size))
    # Ranges are defined for GET alone; a date in If-Range never matches, for no date is sent.
    if method != "GET" or headers.get("If-Range", etag).strip() != etag:
        return whole
    match = _RANGE.fullmatch(headers.get("Range", ""))
    if match is None:
        return whole
    return _ranged(match[1], match[2], size) or whole


def _ranged(first: str, last: str, size: int) -> Selection | None:
    """Return the range from *first* to *last*, or None if it is invalid."""
    if not first:
        if not last or (size == 0 and int(last)):
            return None
        count = min(int(last), size)
        return Selection(206, Span(size - count, size)) if count else Selection(416)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        return Selection(416)
    return Selection(206, Span(start, min(int(last) + 1, size) if last else size))


def _names(condition: str, etag: str, *, weak: bool) -> bool:
    """Return whether *condition*, a list of tags or "*", names *etag*."""
    if condition.strip() == "*":
        return True
    return any(tag == etag and (weak or not mark) for mark, tag in _ETAG.findall(condition))
