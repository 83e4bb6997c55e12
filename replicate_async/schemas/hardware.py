"""Hardware that models run on."""

from __future__ import annotations

from msgspec import Struct


class Hardware(Struct, frozen=True, kw_only=True):
    """A kind of machine; models and deployments are created with its ``sku``."""

    sku: str
    name: str | None = None
