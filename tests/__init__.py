"""Tests, laid out like the package; `support` holds what they share."""

from __future__ import annotations
