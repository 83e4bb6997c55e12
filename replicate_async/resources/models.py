"""Models, with their versions, examples and readmes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from replicate_async.arguments import check_choice, check_text
from replicate_async.context import ClientContext
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import parse_model, parse_version_id
from replicate_async.resources._base import Resource
from replicate_async.resources._options import Deadline, Wait, check_search
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
    """Predictions of official models; ``client.models.predictions``."""

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
        """Start a prediction of an official model (models.predictions.create).

        ``client.predictions.create`` takes other models, too.

        Args:
            model: The official model, "owner/name".
            input: A mapping or a msgspec Struct, files included; see ``client.predictions.create``.
            wait: Seconds for which the API holds its answer until the output is there, 1 to 60;
                True for 60. Even then the prediction may not have ended.
            cancel_after: When the API cancels the prediction, 5 seconds to 24 hours: seconds, a
                timedelta or "1h30m".
            webhook: An https URL that the API calls, by default at each output and at the end.
            webhook_events_filter: The events that it is called for: "start", "output", "logs",
                "completed".
            file_encoding: How files are sent: by size ("auto"), all uploaded ("upload") or none
                ("data-url").

        Raises:
            AmbiguousCreateError: The prediction may exist; the request is never sent twice.
            UnprocessableEntityError: The input is wrong.
            NotFoundError: The model is unknown, or not official.
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
        """Fetch a version of a model, with the schema of its input (models.versions.get).

        Args:
            model: The model, "owner/name".
            version_id: The id of the version.

        Raises:
            NotFoundError: The model or the version is unknown.
        """
        path = parse_model(model).path("model")
        return await self._context.call(
            MODELS_VERSIONS_GET, path | {"version_id": parse_version_id(version_id)}
        )

    async def delete(self, model: str, version_id: str) -> None:
        """Delete a version with its predictions and files (models.versions.delete).

        The API takes some minutes for it.

        Args:
            model: A private model of yours, "owner/name".
            version_id: The id of a version that nothing else uses.

        Raises:
            NotFoundError: The model or the version is unknown.
        """
        path = parse_model(model).path("model")
        await self._context.call(
            MODELS_VERSIONS_DELETE, path | {"version_id": parse_version_id(version_id)}
        )

    def list(self, model: str) -> Paginator[Version]:
        """Iterate over the versions of a model, newest first (models.versions.list).

        Args:
            model: The model, "owner/name".
        """
        return Paginator(self._context, MODELS_VERSIONS_LIST, parse_model(model).path("model"))


class ModelExamples(Resource):
    """Saved examples of a model; ``client.models.examples``."""

    def list(self, model: str) -> Paginator[Prediction]:
        """Iterate over the saved examples of a model (models.examples.list).

        Args:
            model: The model, "owner/name".
        """
        return Paginator(self._context, MODELS_EXAMPLES_LIST, parse_model(model).path("model"))


class ModelReadme(Resource):
    """The readme of a model; ``client.models.readme``."""

    async def get(self, model: str) -> str:
        """Fetch the readme of a model as Markdown (models.readme.get).

        Args:
            model: The model, "owner/name".

        Raises:
            NotFoundError: The model is unknown, or has no readme.
        """
        return await self._context.call(MODELS_README_GET, parse_model(model).path("model"))


class Models(Resource):
    """Models; ``client.models``."""

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
        """Create a model, which has no version yet (models.create).

        An account may have 1,000 models.

        Args:
            model: The new model, "owner/name".
            visibility: "public" or "private".
            hardware: A ``sku`` of ``client.hardware.list()``.
            description: What the model does.
            github_url: Where its code is.
            paper_url: Where its paper is.
            license_url: Where its license is.
            cover_image_url: Where its cover image is.

        Raises:
            AmbiguousCreateError: The model may exist; the request is never sent twice.
            UnprocessableEntityError: The API refuses an argument.
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
        """Fetch a model with its latest version (models.get).

        Example::

            model = await client.models.get("owner/name")
            print(model.description, model.latest_version)

        Args:
            model: The model, "owner/name".

        Raises:
            NotFoundError: The model is unknown.
        """
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
        """Change what is said about a model; arguments that are left out stay (models.update).

        Args:
            model: The model, "owner/name".
            description: What the model does.
            readme: Its readme, in Markdown.
            github_url: Where its code is.
            paper_url: Where its paper is.
            weights_url: Where its weights are.
            license_url: Where its license is.

        Raises:
            NotFoundError: The model is unknown.
        """
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
        """Delete a private model of yours that has no versions (models.delete).

        Args:
            model: The model, "owner/name".

        Raises:
            NotFoundError: The model is unknown.
        """
        await self._context.call(MODELS_DELETE, parse_model(model).path("model"))

    def search(self, query: str) -> Paginator[Model]:
        """Iterate over the public models that match a query, the best first (models.search).

        Args:
            query: The text to search for.
        """
        check_search(query)
        return Paginator(self._context, MODELS_SEARCH, body=query)

    def list(
        self,
        *,
        sort_by: SortBy | None = None,
        sort_direction: SortDirection | None = None,
    ) -> Paginator[Model]:
        """Iterate over the public models (models.list).

        Args:
            sort_by: "latest_version_created_at", the default, or "model_created_at".
            sort_direction: "desc", the default, or "asc".
        """
        check_choice("sort_by", sort_by, get_args(SortBy))
        check_choice("sort_direction", sort_direction, get_args(SortDirection))
        query = ListModels(sort_by=sort_by, sort_direction=sort_direction)
        return Paginator(self._context, MODELS_LIST, query=query)
