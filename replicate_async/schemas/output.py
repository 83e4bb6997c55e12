"""What a run said: its output as a type, its progress and its error's code."""

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
_CODE = re.compile(r"\((E\d{3,4})\)|\bcode: (\w+)")


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run has come, by the last progress bar in its logs."""

    percentage: float
    """From 0 to 1."""
    current: int
    total: int

    @classmethod
    def parse(cls, logs: str | None) -> Progress | None:
        """Return the last progress bar (of tqdm's form) in *logs*, or None without one."""
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
    output: object, type: type[T], dec_hook: Callable[[Any, Any], Any] | None = None
) -> T:
    """Return *output* as a *type*, which is anything that msgspec decodes.

    A list of text chunks, which is how models give a text as they go, is joined where the type
    takes a string and no list. *dec_hook* is msgspec's. Raises `msgspec.ValidationError` when the
    output is something else, and `TypeError` when msgspec does not know the type.
    """
    try:
        return msgspec.convert(output, type, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        problem = error  # says more than what is wrong with the joined text
    try:
        return msgspec.convert("".join(msgspec.convert(output, list[str])), type)
    except msgspec.ValidationError:
        name = getattr(type, "__name__", None) or str(type)
        raise msgspec.ValidationError(f"The output is not {name}: {problem}") from None


def error_code(error: str | None) -> str | None:
    """Return the code in an error's text, such as ``E1001`` (out of memory), or None."""
    found = _CODE.search(error or "")
    return (found[1] or found[2]) if found else None
