"""Tests, laid out like the package; `support` has shared helpers."""

from __future__ import annotations
