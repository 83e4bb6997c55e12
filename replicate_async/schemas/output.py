"""The output of a run as a type, its progress bar, and the code of its error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

# tqdm's bar: "desc:  45%|████▌     | 9/20 [00:01<00:01,  8.0it/s]", where the description is
# optional and counts may be scaled ("1.20G/2.60G").
_BAR = re.compile(
    r"(?<![\d.])(\d{1,3})%[^\S\r\n]*\|[^|\r\n]*\|[^\S\r\n]*"
    r"(\d+(?:\.\d+)?)([kKMGTP]?)/(\d+(?:\.\d+)?)([kKMGTP]?)"
)
_SCALE = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_LONGEST_SEEN = 2048
"""Characters of a chunk that are read to decide whether it is a URL."""
_CODE = re.compile(r"\((E\d{3,4})\)|\bcode: (\w+)")


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The last progress bar in the logs of a run."""

    percentage: float
    """From 0 to 1."""
    current: int
    """Steps that are done."""
    total: int
    """All steps."""

    @classmethod
    def parse(cls, logs: str | None) -> Progress | None:
        """Return the last progress bar (of tqdm's form) in logs, or None without one.

        Args:
            logs: The logs of a run.
        """
        bars = _BAR.findall(logs or "")
        if not bars:
            return None
        percent, current, current_unit, total, total_unit = bars[-1]
        return cls(
            percentage=min(int(percent), 100) / 100,
            current=round(float(current) * _SCALE[current_unit]),
            total=round(float(total) * _SCALE[total_unit]),
        )


def decode_output(
    output: object,
    type: type[T],
    dec_hook: Callable[[Any, Any], Any] | None = None,
    *,
    is_text: bool | None = None,
) -> T:
    """Return *output* as a *type*, which is any type that msgspec decodes.

    A list of text chunks is joined where the type takes a string and no list.

    Args:
        output: The output of a prediction.
        type: The type, such as ``str`` or ``list[str]``.
        dec_hook: Decodes types that msgspec does not know, as msgspec describes it.
        is_text: Whether the model's schema says that a list is one text; None where no schema is
            known, and a list of strings without a URL is one text.

    Raises:
        msgspec.ValidationError: The output is not a *type*.
        TypeError: It is a type that msgspec does not decode.
    """
    try:
        return msgspec.convert(output, type, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        problem = str(error)  # more precise than the error of the joined text
    name = getattr(type, "__name__", None) or str(type)
    try:
        chunks = msgspec.convert(output, list[str])
        text = "".join(chunks)
        decoded = msgspec.convert(text, type)
    except msgspec.ValidationError:
        raise msgspec.ValidationError(f"The output is not {name}: {problem}") from None
    if is_text is None:
        is_text = not any(map(_is_url, chunks))
    if not is_text:
        raise msgspec.ValidationError(
            f"The output is not {name}: {problem}; it is a list of {len(chunks)} strings, not "
            "one text in chunks: use list[str]."
        )
    return decoded


def _is_url(chunk: str) -> bool:
    """Return whether *chunk* is a complete URL and not a piece of a text."""
    scheme, _, rest = chunk[:_LONGEST_SEEN].partition(":")
    if scheme.lower() == "data":
        kind, comma, _ = rest.partition(",")
        return bool(comma) and not kind[:1].isspace() and ("/" in kind or ";" in kind)
    if scheme.lower() not in {"http", "https"} or not rest.startswith("//"):
        return False
    host, slash, _ = rest[2:].partition("/")
    # "http://" and "http://www" are tokens of language models.
    whole = bool(slash) or "." in host.strip(".") or ":" in host
    return bool(host) and whole and not any(map(str.isspace, rest))


def error_code(error: str | None) -> str | None:
    """Return the code in an error's text, such as ``E1001`` (out of memory), or None."""
    found = _CODE.search(error or "")
    return (found[1] or found[2]) if found else None
