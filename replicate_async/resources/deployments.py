"""Deployments, versions that run under a name of the account."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast, overload

from replicate_async.arguments import check_count, check_text
from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import check_name, parse_deployment, parse_model, parse_version_id
from replicate_async.resources._base import Resource
from replicate_async.resources._options import Deadline, Wait
from replicate_async.resources._paginator import Paginator
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._prepared_input import Input
from replicate_async.resources._run_methods import RunMethods
from replicate_async.resources._target import Target
from replicate_async.resources.endpoints import (
    DEPLOYMENTS_CREATE,
    DEPLOYMENTS_DELETE,
    DEPLOYMENTS_GET,
    DEPLOYMENTS_LIST,
    DEPLOYMENTS_UPDATE,
)
from replicate_async.runs.waiting.wait_options import OnUpdate
from replicate_async.schemas import (
    CreateDeployment,
    Deployment,
    Prediction,
    UpdateDeployment,
    WebhookEvent,
)
from replicate_async.typed import TypedModel, contract_of

if TYPE_CHECKING:
    from typing_extensions import TypeVar, Unpack

    from replicate_async.resources._arguments import (
        BatchArguments,
        CreateArguments,
        RunArguments,
        StreamArguments,
    )
    from replicate_async.runs.batch.batch import Batch
    from replicate_async.runs.batch.results import ItemInput
    from replicate_async.runs.streaming.stream import Stream

    InputT = TypeVar("InputT")
    OutputT = TypeVar("OutputT")
    RowT = TypeVar("RowT")
    T = TypeVar("T", default=Any)
    Row = TypeVar("Row", default=Any)

_MOST_MIN_INSTANCES: Final = 5
_MOST_MAX_INSTANCES: Final = 20


class DeploymentPredictions(Resource):
    """Predictions on a deployment; ``client.deployments.predictions``."""

    __slots__ = ("_calls",)

    def __init__(self, calls: PredictionCalls) -> None:
        super().__init__(calls.context)
        self._calls = calls

    @overload
    async def create(
        self,
        deployment: str,
        input: InputT,
        *,
        model: TypedModel[InputT, Any],
        **options: Unpack[CreateArguments],
    ) -> Prediction: ...

    @overload
    async def create(
        self,
        deployment: str,
        input: Input | None = None,
        *,
        model: None = None,
        **options: Unpack[CreateArguments],
    ) -> Prediction: ...

    async def create(
        self,
        deployment: str,
        input: Any = None,
        *,
        model: TypedModel[Any, Any] | None = None,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
    ) -> Prediction:
        """Start a prediction on a deployment (deployments.predictions.create).

        Args:
            deployment: The deployment, "owner/name".
            input: A mapping or a msgspec Struct, files included; see ``client.predictions.create``.
            model: The `TypedModel` that runs there, which checks the input.
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
            InvalidInputError: *model* does not take the input; nothing was sent.
            AmbiguousCreateError: The prediction may exist; the request is never sent twice.
            UnprocessableEntityError: The input is wrong.
            NotFoundError: The deployment is unknown.
        """
        target = _target(deployment, model)
        request = PredictionRequest(
            self._context,
            input=input,
            wait=wait,
            cancel_after=cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
            contract=target.contract,
        )
        return self._calls.recorded(await self._calls.create(target.ref, request))


class Deployments(Resource):
    """Versions that run under names of the account; ``client.deployments``."""

    __slots__ = ("_runs", "predictions")

    def __init__(self, calls: PredictionCalls) -> None:
        super().__init__(calls.context)
        self._runs = RunMethods(calls)
        self.predictions: DeploymentPredictions = DeploymentPredictions(calls)

    @overload
    async def run(
        self,
        deployment: str,
        input: InputT,
        *,
        model: TypedModel[InputT, OutputT],
        **options: Unpack[RunArguments],
    ) -> OutputT: ...

    @overload
    async def run(
        self,
        deployment: str,
        input: Input | None = None,
        *,
        model: None = None,
        type: type[T] | None = None,
        files: bool = True,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        delete_uploads: bool = False,
        retries: int = 0,
        timeout: float | None = 35 * 60,
        queue_timeout: float | None = 60 * 60,
        poll: Poll | None = None,
        on_update: OnUpdate[Prediction] | None = None,
    ) -> T: ...

    async def run(
        self,
        deployment: str,
        input: Any = None,
        *,
        model: TypedModel[Any, Any] | None = None,
        type: type[Any] | None = None,
        files: bool = True,
        **options: Unpack[RunArguments],
    ) -> Any:
        """Run a deployment to its end and return its output (deployments.predictions.create).

        The other arguments are those of ``client.run``, as are the errors.

        Example::

            output = await client.deployments.run("owner/name", {"prompt": "Hi"})

        Args:
            deployment: The deployment, "owner/name".
            input: A mapping or a msgspec Struct, files included; see ``client.predictions.create``.
            model: The `TypedModel` that runs there, which checks the input and types the output.
            type: Decode the output as this type.
            files: Without a *type*: whether files in the output are `FileOutput` or URLs.
        """
        return await self._runs.run(
            _named(deployment, model), input, type=type, files=files, **options
        )

    @overload
    def stream(
        self,
        deployment: str,
        input: InputT,
        *,
        model: TypedModel[InputT, Any],
        **options: Unpack[StreamArguments],
    ) -> Stream: ...

    @overload
    def stream(
        self,
        deployment: str,
        input: Input | None = None,
        *,
        model: None = None,
        **options: Unpack[StreamArguments],
    ) -> Stream: ...

    def stream(
        self,
        deployment: str,
        input: Any = None,
        *,
        model: TypedModel[Any, Any] | None = None,
        **options: Unpack[StreamArguments],
    ) -> Stream:
        """Run a deployment and return its output as it is made (deployments.predictions.create).

        The other arguments are those of ``client.stream``, as are the errors.

        Args:
            deployment: The deployment, "owner/name".
            input: A mapping or a msgspec Struct, files included; see ``client.predictions.create``.
            model: The `TypedModel` that runs there, which checks the input.
        """
        return self._runs.stream(_named(deployment, model), input, **options)

    @overload
    def batch(
        self,
        deployment: str,
        inputs: Iterable[InputT] | AsyncIterable[InputT],
        *,
        model: TypedModel[InputT, OutputT],
        **options: Unpack[BatchArguments[OutputT]],
    ) -> Batch[OutputT]: ...

    @overload
    def batch(
        self,
        deployment: str,
        inputs: Iterable[RowT] | AsyncIterable[RowT] | object,
        *,
        model: TypedModel[InputT, OutputT],
        prepare: Callable[[RowT], Awaitable[InputT]],
        **options: Unpack[BatchArguments[OutputT]],
    ) -> Batch[OutputT]: ...

    @overload
    def batch(
        self,
        deployment: str,
        inputs: Iterable[ItemInput] | AsyncIterable[ItemInput] | object,
        *,
        model: None = None,
        type: type[T] | None = None,
        prepare: Callable[[Row], Awaitable[ItemInput]] | None = None,
        **options: Unpack[BatchArguments[T]],
    ) -> Batch[T]: ...

    def batch(
        self,
        deployment: str,
        inputs: object,
        *,
        model: TypedModel[Any, Any] | None = None,
        type: type[Any] | None = None,
        prepare: Callable[[Any], Awaitable[Any]] | None = None,
        **options: Unpack[BatchArguments[Any]],
    ) -> Batch[Any]:
        """Run a deployment over many inputs (deployments.predictions.create).

        The other arguments are those of ``client.batch``, as are the errors.

        Args:
            deployment: The deployment, "owner/name".
            inputs: An iterable, an async iterable or a data frame, of any length.
            model: The `TypedModel` that runs there, which checks the inputs and types the outputs.
            type: Decode the outputs as this type.
            prepare: An async function that makes the input to send of the one that was given.
        """
        return self._runs.batch(
            _named(deployment, model), inputs, type=type, prepare=prepare, **options
        )

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
        """Deploy a version of a model under a name of the account (deployments.create).

        Args:
            name: The name of the deployment.
            model: The model, "owner/name".
            version: The id of the version.
            hardware: A ``sku`` of ``client.hardware.list()``.
            min_instances: The fewest instances, 0 to 5.
            max_instances: The most instances, 0 to 20.

        Raises:
            AmbiguousCreateError: The deployment may exist; the request is never sent twice.
            UnprocessableEntityError: The API refuses an argument.
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
        """Fetch a deployment with its current release (deployments.get).

        Args:
            deployment: The deployment, "owner/name".

        Raises:
            NotFoundError: The deployment is unknown.
        """
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
        """Make a new release of a deployment, with some options changed (deployments.update).

        Each update increases ``current_release.number``, so one that changes nothing is refused.

        Args:
            deployment: The deployment, "owner/name".
            version: The id of the new version.
            hardware: A ``sku`` of ``client.hardware.list()``.
            min_instances: The fewest instances, 0 to 5.
            max_instances: The most instances, 0 to 20.

        Raises:
            AmbiguousCreateError: The release may exist; the request is never sent twice.
            NotFoundError: The deployment is unknown.
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
        """Delete a deployment that was not used for 15 minutes (deployments.delete).

        Args:
            deployment: The deployment, "owner/name".

        Raises:
            NotFoundError: The deployment is unknown.
        """
        await self._context.call(DEPLOYMENTS_DELETE, _path(deployment))

    def list(self) -> Paginator[Deployment]:
        """Iterate over the deployments of the account (deployments.list)."""
        return Paginator(self._context, DEPLOYMENTS_LIST)


def _target(deployment: str, model: TypedModel[Any, Any] | None) -> Target:
    contract = None if model is None else contract_of(model)
    return Target(parse_deployment(deployment), contract)


def _named(deployment: str, model: TypedModel[Any, Any] | None) -> str:
    """Return the target in place of a model's name; only the signatures have names alone."""
    return cast("str", _target(deployment, model))


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
