"""Rate limits that are never reached: high and not lifted, as the pace is part of every call."""

from __future__ import annotations

from typing import Final

from replicate_async import Limits

HIGH: Final = Limits(creates=6e7, gets=6e7, others=6e7)
