"""Versions of a model."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from replicate_async.schemas.values import Timestamp


class Version(Struct, frozen=True, kw_only=True):
    """A version of a model: its code and weights at one time."""

    id: str
    """64 hexadecimal digits."""
    created_at: Timestamp | None = None
    cog_version: str | None = None
    """The Cog that built the version; not always a number (``dev``, ``0.1.3+shimmed``)."""
    openapi_schema: dict[str, Any] | None = None
    """An OpenAPI document; ``components.schemas`` has Input and Output. Any level may be absent."""
