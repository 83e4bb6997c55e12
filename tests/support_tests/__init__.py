"""Tests of the test harness: what it reports must be true."""

from __future__ import annotations
