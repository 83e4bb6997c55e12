"""Collections, groups of models."""

from __future__ import annotations

from msgspec import Struct, field

from replicate_async.schemas.models import Model


class CollectionItem(Struct, frozen=True, kw_only=True):
    """A collection in a listing, without its models."""

    slug: str
    """The argument of ``client.collections.get``."""
    name: str | None = None
    description: str | None = None


class Collection(Struct, frozen=True, kw_only=True):
    """A group of models."""

    slug: str
    name: str | None = None
    description: str | None = None
    full_description: str | None = None
    """Markdown."""
    models: list[Model] = field(default_factory=list[Model])
