"""Tests of streams to a browser."""

from __future__ import annotations
