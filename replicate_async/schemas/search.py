"""Search over models, collections and pages."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from replicate_async.schemas.models import Model


class SearchModelMetadata(Struct, frozen=True, kw_only=True):
    """What the search adds to a model."""

    generated_description: str | None = None
    tags: list[str] | None = None
    score: float | None = None
    """How well the model fits the query; more is better."""


class SearchModel(Struct, frozen=True, kw_only=True):
    """A found model."""

    model: Model
    metadata: SearchModelMetadata | None = None


class SearchCollection(Struct, frozen=True, kw_only=True):
    """A found collection."""

    slug: str
    name: str | None = None
    description: str | None = None
    models: list[str] | None = None
    """The models of the collection, each as "owner/name"."""


class SearchPage(Struct, frozen=True, kw_only=True):
    """A found page of the website."""

    href: str
    name: str | None = None


class SearchResults(Struct, frozen=True, kw_only=True):
    """The results of a search, the best first."""

    query: str | None = None
    models: list[SearchModel] = field(default_factory=list[SearchModel])
    collections: list[SearchCollection] = field(default_factory=list[SearchCollection])
    pages: list[SearchPage] = field(default_factory=list[SearchPage])


class SearchQuery(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The query of search."""

    query: str
    limit: Annotated[int, Meta(ge=1, le=50, extra_json_schema={"default": 20})] | None = None
    """The most models, 1 to 50; the API's default is 20."""
