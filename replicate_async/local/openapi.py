"""The server's own OpenAPI document."""

from __future__ import annotations


def document() -> bytes:
    """Return the document as JSON."""
    return b"{}"
