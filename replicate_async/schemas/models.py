"""Models and their examples."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from replicate_async.schemas.predictions import PredictionURLs
from replicate_async.schemas.values import (
    URL,
    ModelVisibility,
    SortBy,
    SortDirection,
    Source,
    Status,
    Timestamp,
    Visibility,
)
from replicate_async.schemas.versions import Version


class ExamplePrediction(Struct, frozen=True, kw_only=True):
    """The prediction that shows what a model does.

    It may be old and lack any field, and must not break a listing of models; so it is not a
    `Prediction`. ``client.predictions.get`` does not find examples of other accounts.
    """

    id: str | None = None
    model: str | None = None
    version: str | None = None
    input: dict[str, Any] | None = None
    output: Any = None
    error: str | None = None
    logs: str | None = None
    status: Status | None = None
    source: Source | None = None
    created_at: Timestamp | None = None
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    metrics: dict[str, Any] | None = None
    urls: PredictionURLs | None = None


class Model(Struct, frozen=True, kw_only=True):
    """A model: its name, its description and its latest version."""

    owner: str
    name: str
    url: URL | None = None
    """The page of the model on the website."""
    description: str | None = None
    visibility: ModelVisibility | None = None
    github_url: URL | None = None
    paper_url: URL | None = None
    license_url: URL | None = None
    weights_url: URL | None = None
    cover_image_url: URL | None = None
    run_count: int | None = None
    is_official: bool | None = None
    default_example: ExamplePrediction | None = None
    latest_version: Version | None = None
    """None for a model without versions."""
    created_at: Timestamp | None = None

    def __repr__(self) -> str:
        return f"<Model {self.owner}/{self.name}>"


class CreateModel(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The body of models.create."""

    owner: str
    """Your username, or an organization of yours."""
    name: str
    visibility: Visibility
    hardware: str
    """A hardware ``sku``."""
    description: str | None = None
    github_url: str | None = None
    paper_url: str | None = None
    license_url: str | None = None
    cover_image_url: str | None = None


class UpdateModel(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The body of models.update; fields that are left out stay."""

    description: str | None = None
    readme: str | None = None
    """Markdown."""
    github_url: str | None = None
    paper_url: str | None = None
    weights_url: str | None = None
    license_url: str | None = None


class ListModels(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The query of models.list."""

    sort_by: (
        Annotated[SortBy, Meta(extra_json_schema={"default": "latest_version_created_at"})] | None
    ) = None
    sort_direction: Annotated[SortDirection, Meta(extra_json_schema={"default": "desc"})] | None = (
        None
    )
