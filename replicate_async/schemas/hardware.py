"""What models run on."""

from __future__ import annotations

from msgspec import Struct


class Hardware(Struct, frozen=True, kw_only=True):
    """A kind of machine; ``sku`` is what a model or deployment is created with."""

    sku: str
    name: str | None = None
