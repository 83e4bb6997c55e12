"""Deployments: a version kept running under a name of your own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from replicate_async.context import ClientContext
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import check_name, parse_model, parse_version_id
from replicate_async.resources._base import Resource
from replicate_async.resources._options import Deadline, Wait, check_count, check_text
from replicate_async.resources._paginator import Paginator
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._prepared_input import Input, with_files
from replicate_async.resources.endpoints import (
    DEPLOYMENTS_CREATE,
    DEPLOYMENTS_DELETE,
    DEPLOYMENTS_GET,
    DEPLOYMENTS_LIST,
    DEPLOYMENTS_PREDICTIONS_CREATE,
    DEPLOYMENTS_UPDATE,
)
from replicate_async.schemas import (
    CreateDeployment,
    Deployment,
    Prediction,
    UpdateDeployment,
    WebhookEvent,
)

_MOST_MIN_INSTANCES: Final = 5
_MOST_MAX_INSTANCES: Final = 20


class DeploymentPredictions(Resource):
    """Runs on a deployment; ``client.deployments.predictions``."""

    async def create(
        self,
        deployment: str,
        input: Input | None = None,
        *,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
    ) -> Prediction:
        """Start a prediction on the deployment "owner/name".

        The options are those of ``client.predictions.create`` (deployments.predictions.create).
        """
        path = parse_model(deployment, "deployment").path("deployment")
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
            request.input, lambda: request.create_at(DEPLOYMENTS_PREDICTIONS_CREATE, path)
        )


class Deployments(Resource):
    """Versions kept running under names of your own; ``client.deployments``."""

    __slots__ = ("predictions",)

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.predictions: DeploymentPredictions = DeploymentPredictions(context)

    async def create(
        self,
        name: str,
        *,
        model: str,
        version: str,
        hardware: str,
        min_instances: int,
        max_instances: int,
    ) -> Deployment:
        """Deploy a *version* (its id) of the *model* "owner/name" under *name*.

        The owner is the token's account. *hardware* is a ``sku`` of ``client.hardware.list()``,
        *min_instances* goes from 0 to 5, *max_instances* from 0 to 20. Never sent twice: raises
        `AmbiguousCreateError` when its fate is unknown (deployments.create).
        """
        check_name("name", name)
        check_text("hardware", hardware)
        _check_instances(min_instances, max_instances)
        body = CreateDeployment(
            name=name,
            model=str(parse_model(model)),
            version=parse_version_id(version, "version"),
            hardware=hardware,
            min_instances=min_instances,
            max_instances=max_instances,
        )
        return await self._context.call(DEPLOYMENTS_CREATE, body=body)

    async def get(self, deployment: str) -> Deployment:
        """Fetch the deployment "owner/name" with its current release (deployments.get)."""
        return await self._context.call(DEPLOYMENTS_GET, _path(deployment))

    async def update(
        self,
        deployment: str,
        *,
        version: str | None = None,
        hardware: str | None = None,
        min_instances: int | None = None,
        max_instances: int | None = None,
    ) -> Deployment:
        """Make a new release of "owner/name" with what is given changed.

        Each update raises ``current_release.number``, so one that changes nothing is refused, and
        none is ever sent twice: raises `AmbiguousCreateError` when its fate is unknown
        (deployments.update).
        """
        _check_instances(min_instances, max_instances)
        body = UpdateDeployment(
            version=None if version is None else parse_version_id(version, "version"),
            hardware=hardware,
            min_instances=min_instances,
            max_instances=max_instances,
        )
        if body == UpdateDeployment():
            raise InvalidArgumentError(
                "deployments.update has nothing to change; give version=, hardware=, "
                "min_instances= or max_instances=."
            )
        return await self._context.call(DEPLOYMENTS_UPDATE, _path(deployment), body=body)

    async def delete(self, deployment: str) -> None:
        """Delete "owner/name", which must have been unused for 15 minutes (deployments.delete)."""
        await self._context.call(DEPLOYMENTS_DELETE, _path(deployment))

    def list(self) -> Paginator[Deployment]:
        """Iterate over the account's deployments (deployments.list)."""
        return Paginator(self._context, DEPLOYMENTS_LIST)


def _path(deployment: str) -> dict[str, str]:
    return parse_model(deployment, "deployment").path("deployment")


def _check_instances(minimum: int | None, maximum: int | None) -> None:
    for name, value, most in (
        ("min_instances", minimum, _MOST_MIN_INSTANCES),
        ("max_instances", maximum, _MOST_MAX_INSTANCES),
    ):
        check_count(name, value, 0, most)
    if minimum is not None and maximum is not None and minimum > maximum:
        raise InvalidArgumentError(
            f"min_instances={minimum} is more than max_instances={maximum}; lower one."
        )
