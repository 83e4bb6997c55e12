"""Tests of what goes to a browser."""

from __future__ import annotations
