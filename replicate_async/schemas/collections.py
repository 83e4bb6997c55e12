"""Collections: models that belong together."""

from __future__ import annotations

from msgspec import Struct, field

from replicate_async.schemas.models import Model


class CollectionItem(Struct, frozen=True, kw_only=True):
    """A collection as listings have it, without its models."""

    slug: str
    """What ``client.collections.get`` takes."""
    name: str | None = None
    description: str | None = None


class Collection(Struct, frozen=True, kw_only=True):
    """Models that belong together."""

    slug: str
    name: str | None = None
    description: str | None = None
    full_description: str | None = None
    """Markdown."""
    models: list[Model] = field(default_factory=list[Model])
