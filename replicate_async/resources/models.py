"""Models: what can be run, their versions, examples and readmes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from replicate_async.context import ClientContext
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import parse_model, parse_version_id
from replicate_async.resources._base import Resource
from replicate_async.resources._options import (
    Deadline,
    Wait,
    check_choice,
    check_search,
    check_text,
)
from replicate_async.resources._paginator import Paginator
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._prepared_input import Input, with_files
from replicate_async.resources.endpoints import (
    MODELS_CREATE,
    MODELS_DELETE,
    MODELS_EXAMPLES_LIST,
    MODELS_GET,
    MODELS_LIST,
    MODELS_PREDICTIONS_CREATE,
    MODELS_README_GET,
    MODELS_SEARCH,
    MODELS_UPDATE,
    MODELS_VERSIONS_DELETE,
    MODELS_VERSIONS_GET,
    MODELS_VERSIONS_LIST,
)
from replicate_async.schemas import (
    CreateModel,
    ListModels,
    Model,
    Prediction,
    SortBy,
    SortDirection,
    UpdateModel,
    Version,
    Visibility,
    WebhookEvent,
)


class ModelPredictions(Resource):
    """Runs of official models; ``client.models.predictions``."""

    async def create(
        self,
        model: str,
        input: Input | None = None,
        *,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
    ) -> Prediction:
        """Start a prediction with the official model "owner/name".

        The options are those of ``client.predictions.create``, which takes community models too;
        this raises `NotFoundError` for them (models.predictions.create).
        """
        path = parse_model(model).path("model")
        request = PredictionRequest(
            self._context,
            input=input,
            wait=wait,
            cancel_after=cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
        )
        return await with_files(
            request.input, lambda: request.create_at(MODELS_PREDICTIONS_CREATE, path)
        )


class ModelVersions(Resource):
    """Versions of a model; ``client.models.versions``."""

    async def get(self, model: str, version_id: str) -> Version:
        """Fetch a version of "owner/name"; its ``openapi_schema`` describes the model's input.

        Raises `NotFoundError` when there is none (models.versions.get).
        """
        path = parse_model(model).path("model")
        return await self._context.call(
            MODELS_VERSIONS_GET, path | {"version_id": parse_version_id(version_id)}
        )

    async def delete(self, model: str, version_id: str) -> None:
        """Delete a version and all its predictions and files, which takes the API some minutes.

        Only the owner of a private model may, and only while nothing else uses the version
        (models.versions.delete).
        """
        path = parse_model(model).path("model")
        await self._context.call(
            MODELS_VERSIONS_DELETE, path | {"version_id": parse_version_id(version_id)}
        )

    def list(self, model: str) -> Paginator[Version]:
        """Iterate over the versions of "owner/name", newest first (models.versions.list)."""
        return Paginator(self._context, MODELS_VERSIONS_LIST, parse_model(model).path("model"))


class ModelExamples(Resource):
    """Saved examples of a model; ``client.models.examples``."""

    def list(self, model: str) -> Paginator[Prediction]:
        """Iterate over the examples of "owner/name" (models.examples.list)."""
        return Paginator(self._context, MODELS_EXAMPLES_LIST, parse_model(model).path("model"))


class ModelReadme(Resource):
    """The readme of a model; ``client.models.readme``."""

    async def get(self, model: str) -> str:
        """Fetch the readme of "owner/name" as Markdown.

        Raises `NotFoundError` when it has none (models.readme.get).
        """
        return await self._context.call(MODELS_README_GET, parse_model(model).path("model"))


class Models(Resource):
    """What can be run; ``client.models``."""

    __slots__ = ("examples", "predictions", "readme", "versions")

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.examples: ModelExamples = ModelExamples(context)
        self.predictions: ModelPredictions = ModelPredictions(context)
        self.readme: ModelReadme = ModelReadme(context)
        self.versions: ModelVersions = ModelVersions(context)

    async def create(
        self,
        model: str,
        *,
        visibility: Visibility,
        hardware: str,
        description: str | None = None,
        github_url: str | None = None,
        paper_url: str | None = None,
        license_url: str | None = None,
        cover_image_url: str | None = None,
    ) -> Model:
        """Create the model "owner/name", empty until a version is pushed or trained.

        *hardware* is a ``sku`` of ``client.hardware.list()``. An account may have 1,000 models.
        Never sent twice: raises `AmbiguousCreateError` when its fate is unknown (models.create).
        """
        ref = parse_model(model)
        check_choice("visibility", visibility, get_args(Visibility))
        check_text("hardware", hardware)
        body = CreateModel(
            owner=ref.owner,
            name=ref.name,
            visibility=visibility,
            hardware=hardware,
            description=description,
            github_url=github_url,
            paper_url=paper_url,
            license_url=license_url,
            cover_image_url=cover_image_url,
        )
        return await self._context.call(MODELS_CREATE, body=body)

    async def get(self, model: str) -> Model:
        """Fetch the model "owner/name"; raises `NotFoundError` when there is none (models.get)."""
        return await self._context.call(MODELS_GET, parse_model(model).path("model"))

    async def update(
        self,
        model: str,
        *,
        description: str | None = None,
        readme: str | None = None,
        github_url: str | None = None,
        paper_url: str | None = None,
        weights_url: str | None = None,
        license_url: str | None = None,
    ) -> Model:
        """Change what is said about "owner/name"; what is left out stays (models.update)."""
        body = UpdateModel(
            description=description,
            readme=readme,
            github_url=github_url,
            paper_url=paper_url,
            weights_url=weights_url,
            license_url=license_url,
        )
        return await self._context.call(MODELS_UPDATE, parse_model(model).path("model"), body=body)

    async def delete(self, model: str) -> None:
        """Delete "owner/name", which must be yours, private and empty of versions.

        (models.delete)
        """
        await self._context.call(MODELS_DELETE, parse_model(model).path("model"))

    def search(self, query: str) -> Paginator[Model]:
        """Iterate over public models that match *query*, the best first (models.search)."""
        check_search(query)
        return Paginator(self._context, MODELS_SEARCH, body=query)

    def list(
        self,
        *,
        sort_by: SortBy | None = None,
        sort_direction: SortDirection | None = None,
    ) -> Paginator[Model]:
        """Iterate over public models, by default those with the newest version first.

        (models.list)
        """
        check_choice("sort_by", sort_by, get_args(SortBy))
        check_choice("sort_direction", sort_direction, get_args(SortDirection))
        query = ListModels(sort_by=sort_by, sort_direction=sort_direction)
        return Paginator(self._context, MODELS_LIST, query=query)
