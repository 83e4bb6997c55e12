"""What counts as a number where an argument must be one."""

from __future__ import annotations

import math
import sys
from typing import Final, TypeGuard

_LARGEST: Final = sys.float_info.max


def is_number(value: object, least: float = -_LARGEST, most: float = _LARGEST) -> TypeGuard[float]:
    """Whether *value* is a number from *least* to *most*.

    Neither True nor NaN is one, nor an int that is too large for a float.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return least <= value <= most and (value <= _LARGEST or value == math.inf)


def check_seconds(options: object, *fields: str) -> None:
    """Raise `ValueError` for a field of *options* that is no number of seconds, 0 or more."""
    for field in fields:
        value: object = getattr(options, field)
        if not is_number(value, 0):
            raise ValueError(
                f"{type(options).__name__}({field}={value!r}): use a finite number of seconds, "
                "0 or more."
            )
