"""How long a test waits for something that must happen."""

from __future__ import annotations

from typing import Final

HANG: Final = 120.0
"""Seconds. What takes longer hangs; no test expects something to take this long or less."""
