"""The clients that are measured."""

from __future__ import annotations
