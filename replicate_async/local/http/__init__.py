"""The HTTP side of the embedded server."""

from __future__ import annotations
