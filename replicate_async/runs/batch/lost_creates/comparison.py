"""Whether an input in the list of predictions may be one that was sent.

The API may show an input otherwise than it was sent: with a field dropped or added, a text trimmed,
cut or in another Unicode form, a number rounded or written as text, a secret hidden. A difference
of such a kind proves nothing, and must not lead to a second create.

Between two inputs of the batch, its other predictions help to tell: a list that shows a text of 100
bytes as it was sent does not cut texts of the same field to 10.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec

from replicate_async.runs.batch.json_tree import Path, leaves
from replicate_async.runs.batch.lost_creates.sent_input import (
    FileContent,
    content_of,
    is_data_url,
)

__all__ = ["ComparedInput", "WholeFields", "may_be"]

_HIDDEN: Final = re.compile(r"redacted|\*{3}|\u2022{3}|\A\**\Z")
"""What the API may show in place of a secret."""
_CUT: Final = re.compile(
    r"\.{3,}|\ufffd+|[\[(<][^\])>]{0,40}\b(?:truncated|cut|snip|omitted|more)\b[^\])>]{0,40}[\])>]"
)
"""What may stand in place of what was cut from a text; "…" is "..." in the form compared."""
_NOT_SHOWN: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b-\u200f\u2060\ufeff]")
_UPLOAD: Final = re.compile(r"(https?://[^?#\s]+/files)/([\w=-]+)", re.ASCII)
"""The URL of an upload, which the list may show under another URL."""
_FEWEST_DIGITS: Final = 3
"""Digits that a whole number keeps at least when it is rounded."""
_SINGLE: Final = Decimal("1e-7")  # a float of 32 bits is this near to what it was made of

_Value: TypeAlias = str | Decimal | FileContent | bool | None
_Size: TypeAlias = tuple[int, ...]


class _Field(NamedTuple):
    """A value of an input."""

    value: _Value
    """In the form in which it is compared; None for null and for what cannot be compared."""
    kind: type
    size: _Size
    """Characters, bytes and lines of a text, or decimal places and digits of a number."""


class ComparedInput:
    """An input in the forms in which it is compared: its canonical JSON, and its fields."""

    __slots__ = ("canonical", "fields")

    def __init__(self, canonical: bytes) -> None:
        self.canonical: bytes = canonical
        values = msgspec.json.decode(canonical)
        self.fields: dict[Path, _Field] = {path: _field(leaf) for path, leaf in leaves(values)}


class WholeFields:
    """The longest text and the finest number of each field that a list shows as it was sent."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[Path, type], _Size] = {}

    def add(self, shown: ComparedInput) -> None:
        """Add an input that the list shows as it was sent."""
        for path, field in shown.fields.items():
            known = self._sizes.get((path, field.kind), field.size)
            self._sizes[path, field.kind] = _larger(known, field.size)

    def has(self, path: Path, field: _Field) -> bool:
        """Whether the list shows a field that is as long or as precise as it was sent."""
        known = self._sizes.get((path, field.kind))
        return known is not None and _larger(known, field.size) == known


def _larger(left: _Size, right: _Size) -> _Size:
    return tuple(map(max, left, right))


def may_be(sent: ComparedInput, shown: ComparedInput, whole: WholeFields | None = None) -> bool:
    """Whether the list may show *sent* as *shown*: no field that both have certainly differs.

    With *whole*, it adds nothing to texts and numbers, and cuts and rounds no fields that it is
    known to show whole.
    """
    for path, field in sent.fields.items():
        if path in shown.fields:
            value, other = field.value, shown.fields[path].value
            shrinks = whole is None or not whole.has(path, field)
            if not _may_be(value, other, shrinks=shrinks, grows=whole is None):
                return False
    return True


def _may_be(sent: _Value, shown: _Value, *, shrinks: bool, grows: bool) -> bool:
    """Whether one value may be shown as another in a list that shows less or more of it."""
    if sent == shown:
        return True
    if isinstance(sent, str) and isinstance(shown, str):
        begins = (shrinks and sent.startswith(shown)) or (grows and shown.startswith(sent))
        return begins or _is_marked(sent, shown)
    if isinstance(sent, Decimal) and isinstance(shown, Decimal):
        return (shrinks and _is_rounded(sent, shown)) or (grows and _is_rounded(shown, sent))
    if isinstance(sent, FileContent) and isinstance(shown, FileContent):
        return shown.size < sent.size and sent.head.startswith(shown.head)
    if isinstance(sent, str) and isinstance(shown, FileContent):
        # The list may show a URL for bytes, but no bytes for the URL of an upload.
        return not _UPLOAD.fullmatch(sent)
    return type(sent) is not type(shown)


def _is_moved(sent: str, shown: str) -> bool:
    """Whether *sent* is the URL of an upload, and *shown* is not that of another one beside it."""
    if (upload := _UPLOAD.fullmatch(sent)) is None:
        return False
    other = _UPLOAD.match(shown)
    if other is None or other[1] != upload[1]:
        return True
    return shown[other.end() :].startswith("/") or other[2].startswith(upload[2])


def _is_marked(sent: str, shown: str) -> bool:
    """Whether *shown* may be *sent*, hidden or cut in a way that can be seen."""
    if _HIDDEN.search(shown) or _is_moved(sent, shown):
        return True
    cuts = list(_CUT.finditer(shown))
    if not cuts:
        return False
    begins, ends = shown[: cuts[0].start()].rstrip(), shown[cuts[-1].end() :].lstrip()
    return sent.startswith(begins) and sent.endswith(ends)


def _is_rounded(number: Decimal, rounded: Decimal) -> bool:
    """Whether *rounded* may be *number*, rounded or cut to fewer digits."""
    _, digits, exponent = rounded.as_tuple()
    unit = cast("int", exponent)
    # Of whole numbers, a zero at the end is a digit, and 1234600 may be 1234567.
    if unit == 1 or (unit > 1 and len(digits) < _FEWEST_DIGITS):
        unit = 0
    apart = abs(number - rounded)
    return apart < Decimal(1).scaleb(unit) or apart <= _SINGLE * max(abs(number), abs(rounded))


def _field(leaf: object) -> _Field:
    if isinstance(leaf, str):
        size = len(leaf), len(leaf.encode()), len(leaf.splitlines())
        return _Field(content_of(leaf) if is_data_url(leaf) else _text(leaf), str, size)
    if isinstance(leaf, bool) or not isinstance(leaf, int | float):
        return _Field(leaf if isinstance(leaf, bool) else None, type(leaf), ())
    number = Decimal(repr(leaf)).normalize()
    _, digits, exponent = number.as_tuple()
    return _Field(number, type(leaf), (-cast("int", exponent), len(digits)))


def _text(text: str) -> str:
    """Return a text in one Unicode form, case and spacing."""
    # Not composed: a text that was cut between a letter and its accent has to be a beginning.
    text = _NOT_SHOWN.sub("", unicodedata.normalize("NFKD", text))
    return " ".join(text.casefold().split()).strip("\"'")
