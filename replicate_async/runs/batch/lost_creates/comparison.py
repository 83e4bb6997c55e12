"""Whether an input in the list of predictions certainly is, or is not, one that was sent.

The API may show an input otherwise than it was sent: with a field dropped or added, text stripped,
cut or normalised, numbers rounded or written as text, secrets hidden. A difference of such a
kind proves nothing, and must not lead to a second create.
"""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal
from typing import Final, cast

from replicate_async.runs.batch.identity import A_FILE
from replicate_async.runs.batch.json_tree import map_leaves, pairs
from replicate_async.runs.batch.lost_creates.sent_input import FileContent, content_of, is_data_url

__all__ = ["comparable", "differs", "says_more"]

_HIDDEN: Final = re.compile(r"redacted|\*{3}|\A\*+\Z|•••", re.IGNORECASE)
"""What the API may show in place of a secret."""
_CUT: Final = re.compile(
    r"\.\.\.|\ufffd+|[\[(<][^\])>]{0,40}\b(?:truncated|cut|snip|omitted|more)\b[^\])>]{0,40}[\])>]"
)
"""What may stand in place of what was cut from a text; "…" is "..." in the form compared."""
_NOT_SHOWN: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b-\u200f\u2060\ufeff]")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_LONGEST_NUMBER: Final = 100  # characters
_GROUPED: Final = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", re.ASCII)
_WORDS: Final = {"true": True, "false": False, "yes": True, "no": False, "null": None, "none": None}
_FEWEST_DIGITS: Final = 3
"""Digits that a number keeps at least when it is rounded to some."""
_UPLOAD: Final = re.compile(r"https?://[^?#\s]+/files/[\w=-]+", re.ASCII)
"""The URL of an upload. The list may show an upload under another URL."""
_SINGLE: Final = Decimal("1e-7")  # a float of 32 bits is this near to what it was made of


def comparable(normalized: object) -> object:
    """Return a normalized input with its texts in one Unicode form, case and spacing.

    A data URL becomes a `FileContent`, or `A_FILE` if it could not be decoded.
    """
    return map_leaves(normalized, _comparable_leaf)


def _comparable_leaf(leaf: object) -> object:
    if not isinstance(leaf, str):
        return leaf
    return content_of(leaf) or A_FILE if is_data_url(leaf) else _text(leaf)


def differs(ours: object, shown: object) -> bool:
    """Whether two `comparable` values certainly are two inputs: a field that both have differs."""
    return any(_differs(*pair) for pair in pairs(ours, shown))


def _differs(ours: object, shown: object) -> bool:
    if ours is shown or A_FILE in (ours, shown) or None in (ours, shown):
        return False
    if isinstance(ours, FileContent) or isinstance(shown, FileContent):
        return _files_differ(ours, shown)
    if isinstance(ours, dict | list) or isinstance(shown, dict | list):
        return False  # an object or a list may be shown as text
    if isinstance(shown, str):
        if isinstance(ours, str):
            return ours != shown and _texts_differ(ours, shown)
        if _HIDDEN.search(shown):
            return False
    return _values_differ(_value(ours), _value(shown))


def _files_differ(ours: object, shown: object) -> bool:
    """Whether both are files, and neither is the other one, cut."""
    if not isinstance(ours, FileContent) or not isinstance(shown, FileContent):
        # The list may show a URL for the bytes that were sent, but no bytes for an upload.
        return isinstance(ours, str) and _UPLOAD.fullmatch(ours) is not None
    is_cut = shown.size < ours.size and ours.head.startswith(shown.head)
    return ours != shown and not is_cut


def _is_neighbour(ours: str, shown: str) -> bool:
    """Whether two URLs differ in their last part only, and neither is the other one, cut."""
    left, right = (url.partition("?")[0].partition("#")[0] for url in (ours, shown))
    if left.rpartition("/")[0] != right.rpartition("/")[0]:
        return False
    return not left.startswith(right) and not right.startswith(left)


def says_more(ours: object, shown: object) -> bool:
    """Whether *shown*, which does not differ, has more digits or text than *ours*."""
    return any(_says_more(*pair) for pair in pairs(ours, shown))


def _says_more(ours: object, shown: object) -> bool:
    left, right = _value(ours), _value(shown)
    if isinstance(ours, list) and isinstance(shown, list):
        return len(cast("list[object]", shown)) > len(cast("list[object]", ours))
    if isinstance(left, Decimal) and isinstance(right, Decimal):
        return _places(right) > _places(left)
    if isinstance(ours, str) and isinstance(shown, str):
        return len(shown) > len(ours) and not (_CUT.search(shown) or _HIDDEN.search(shown))
    return False


def _text(text: str) -> str:
    # Not composed: a text that was cut between a letter and its accent has to be a beginning.
    text = _NOT_SHOWN.sub("", unicodedata.normalize("NFKD", text))
    return " ".join(text.casefold().split()).strip("\"'")


def _texts_differ(ours: str, shown: str) -> bool:
    if _UPLOAD.fullmatch(ours):
        return _is_neighbour(ours, shown)
    shorter = min(len(ours), len(shown))
    if ours[:shorter] == shown[:shorter] or _HIDDEN.search(shown):
        return False
    if cuts := list(_CUT.finditer(shown)):
        begins, ends = shown[: cuts[0].start()].rstrip(), shown[cuts[-1].end() :].lstrip()
        if ours.startswith(begins) and ours.endswith(ends):
            return False
    # "7" and "7.0", or a number that was written as text and rounded.
    left, right = _value(ours), _value(shown)
    return isinstance(left, str) or isinstance(right, str) or _values_differ(left, right)


def _value(value: object) -> object:
    """Return the number or boolean that a text contains, else *value*."""
    if isinstance(value, str):
        if len(value) <= _LONGEST_NUMBER and _GROUPED.fullmatch(value):
            return Decimal(value.replace(",", ""))
        if len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value):
            return Decimal(value)
        return _WORDS.get(value, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return Decimal(repr(value)) if math.isfinite(value) else repr(value)


def _values_differ(ours: object, shown: object) -> bool:
    if ours is None or shown is None:
        return False
    if isinstance(ours, Decimal) and isinstance(shown, Decimal):
        return _numbers_differ(ours, shown)
    return ours != shown


def _numbers_differ(ours: Decimal, shown: Decimal) -> bool:
    """Whether neither number is the other one, rounded."""
    if ours == shown:
        return False
    apart = abs(ours - shown)
    if apart <= _SINGLE * max(abs(ours), abs(shown)):
        return False
    if _is_rounded(ours, shown) or _is_rounded(shown, ours):
        return False
    left, right = _places(ours), _places(shown)
    return left == right or apart >= Decimal(1).scaleb(-min(left, right))


def _is_rounded(number: Decimal, rounded: Decimal) -> bool:
    """Whether *rounded* is *number* to some of its first digits, as 1234600 is of 1234567."""
    digits = len(rounded.normalize().as_tuple().digits)
    left_out = rounded.adjusted() - digits + 1
    # Fewer digits are often a number of its own, and one of ten numbers ends in a zero.
    if digits < _FEWEST_DIGITS or left_out < 2:
        return False
    return abs(number - rounded) <= Decimal(1).scaleb(left_out)


def _places(number: Decimal) -> int:
    """Return the number of decimal places."""
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
