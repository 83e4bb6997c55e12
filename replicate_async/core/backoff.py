"""The pause before something is tried again."""

from __future__ import annotations

import math

__all__ = ["backoff"]


def backoff(
    failures: int, *, base: float, cap: float, jitter: float = 1.0, spread: float = 1.0
) -> float:
    """Return the seconds to wait after *failures* in a row: *base*, doubled each time up to *cap*.

    *jitter* is a random number in [0, 1) that chooses from the last *spread* of this pause: from
    all of it unless set, from the second half with 0.5. Without *jitter* it is the whole pause.
    """
    pause = min(cap, math.ldexp(base, min(failures - 1, 63)))
    return pause * (1 - spread + spread * jitter)
