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
    """What built it; not always a version number (``dev``, ``0.1.3+shimmed``)."""
    openapi_schema: dict[str, Any] | None = None
    """An OpenAPI document whose ``components.schemas`` has Input and Output; any level may lack."""
