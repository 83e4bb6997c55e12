"""Trainings, the runs that make a new version of a model."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

import msgspec
from msgspec import Raw

from replicate_async.core.endpoint import shorten
from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import parse_model
from replicate_async.resources._base import Resource, run_id
from replicate_async.resources._options import check_events, check_webhook
from replicate_async.resources._paginator import Paginator
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prepared_input import Input, PreparedInput, with_files
from replicate_async.resources._target import target_of
from replicate_async.resources.endpoints import (
    TRAININGS_CANCEL,
    TRAININGS_CREATE,
    TRAININGS_GET,
    TRAININGS_LIST,
    TRAININGS_LIST_RAW,
)
from replicate_async.runs.waiting.run_api import RunApi
from replicate_async.runs.waiting.wait_options import (
    TRAINING_QUEUE_TIMEOUT,
    TRAINING_TIMEOUT,
    OnUpdate,
    WaitOptions,
)
from replicate_async.runs.waiting.watch import PredictionWaits, RunUpdates
from replicate_async.schemas import CreateTraining, Page, Training, WebhookEvent
from replicate_async.typed import TypedModel

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from replicate_async.resources._arguments import TrainingArguments
    from replicate_async.webhooks import Headers, Secret


class Trainings(Resource):
    """Trainings, the runs that make a new version of a model; ``client.trainings``."""

    __slots__ = ("_calls", "_waits")

    def __init__(self, calls: PredictionCalls) -> None:
        context = calls.context
        super().__init__(context)
        self._calls = calls
        self._waits: PredictionWaits[Training] = PredictionWaits(
            context.tracker,
            RunApi("training", Training, self._poll, self._page, context.redact, windowed=False),
        )

    @overload
    async def create(
        self,
        model: TypedModel[Any, Any],
        input: msgspec.Struct,
        *,
        destination: str,
        **options: Unpack[TrainingArguments],
    ) -> Training: ...

    @overload
    async def create(
        self,
        model: str,
        input: Input,
        *,
        destination: str,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
    ) -> Training: ...

    async def create(
        self,
        model: str | TypedModel[Any, Any],
        input: Any,
        *,
        destination: str,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
    ) -> Training:
        """Start a training, which makes a new version of a model (trainings.create).

        Example::

            training = await client.trainings.create(
                "owner/trainer", {"data": Path("data.zip")}, destination="me/mine"
            )
            training = await client.trainings.wait(training)

        Args:
            model: The version to start from, "owner/name:version", or a `TypedModel`, which checks
                the input. Of "owner/name" the latest version is looked up.
            input: A mapping or a msgspec Struct, files included; see ``client.predictions.create``.
            destination: The model that gets the new version, "owner/name"; it exists and is yours.
            webhook: An https URL that the API calls, by default at each output and at the end.
            webhook_events_filter: The events that it is called for: "start", "output", "logs",
                "completed".
            file_encoding: How files are sent; see ``client.predictions.create``.

        Raises:
            InvalidInputError: A typed model does not take the input; nothing was sent.
            AmbiguousCreateError: The training may exist; the request is never sent twice.
            UnprocessableEntityError: The input or the destination is wrong.
            NotFoundError: The model or version is unknown.
        """
        ref, contract = target_of(model)
        if ref.model is None:
            raise InvalidArgumentError(
                f'model={shorten(model)} must be "owner/name:version" or "owner/name": a training '
                "names both the model and the version it starts from."
            )
        training = None if contract is None else contract.training
        prepared = PreparedInput(self._context, input, file_encoding, training)
        body = CreateTraining(
            destination=str(parse_model(destination, "destination")),
            input=prepared.values,
            webhook=check_webhook(webhook),
            webhook_events_filter=check_events(webhook_events_filter),
        )
        version = ref.version or await self._calls.latest_version(ref.model)
        if version is None:
            raise InvalidArgumentError(f"{ref.model} has no version yet that a training could use.")
        path = ref.model.path("model") | {"version_id": version}
        return await with_files(
            prepared, lambda: self._context.call(TRAININGS_CREATE, path, body=body)
        )

    async def get(self, training_id: str | Training) -> Training:
        """Fetch a training as it is now (trainings.get).

        Args:
            training_id: The id, or a snapshot of the training.

        Raises:
            NotFoundError: The training is unknown, or another account's.
        """
        return await self._context.call(
            TRAININGS_GET, {"training_id": run_id(self._context, training_id)}
        )

    def _poll(self, training_id: str) -> Awaitable[Training]:
        return self._context.call(TRAININGS_GET, {"training_id": training_id}, is_poll=True)

    async def cancel(self, training_id: str | Training) -> Training:
        """Cancel a training and return it; one that has ended is unchanged (trainings.cancel).

        Args:
            training_id: The id, or a snapshot of the training.

        Raises:
            NotFoundError: The training is unknown.
        """
        path = {"training_id": run_id(self._context, training_id)}
        return self._calls.recorded(await self._context.call(TRAININGS_CANCEL, path))

    async def wait(
        self,
        training: Training | str,
        *,
        timeout: float | None = TRAINING_TIMEOUT,
        queue_timeout: float | None = TRAINING_QUEUE_TIMEOUT,
        poll: Poll | None = None,
        on_update: OnUpdate[Training] | None = None,
    ) -> Training:
        """Wait for the end of a training and return it, also when it failed.

        Args:
            training: The id, or a snapshot of the training.
            timeout: Seconds of work, 24 hours by default; None for no limit.
            queue_timeout: Seconds before the work, 24 hours by default; None for no limit.
            poll: How often the API is asked; see ``client.predictions.wait``.
            on_update: A function or async function that is called with each change, the end
                included.

        Raises:
            WaitTimeout: *timeout* or *queue_timeout* is over; the training goes on.
            APIStatusError: Every poll was refused for 30 seconds.
        """
        return await self._waits.wait(
            run_id(self._context, training),
            WaitOptions(timeout, queue_timeout, poll, on_update),
            last=None if isinstance(training, str) else training,
        )

    def watch(
        self,
        training: Training | str,
        *,
        timeout: float | None = TRAINING_TIMEOUT,
        queue_timeout: float | None = TRAINING_QUEUE_TIMEOUT,
        poll: Poll | None = None,
    ) -> RunUpdates[Training]:
        """Iterate over the changes of a training with ``async for``; the last one is its end.

        Args:
            training: The id, or a snapshot of the training.
            timeout: Seconds of work; see `wait`.
            queue_timeout: Seconds before the work; see `wait`.
            poll: How often the API is asked; see `wait`.

        Raises:
            WaitTimeout: While iterating, as every error that `wait` raises.
        """
        return self._waits.watch(
            run_id(self._context, training),
            WaitOptions(timeout, queue_timeout, poll),
            last=None if isinstance(training, str) else training,
        )

    async def handle_webhook(
        self,
        body: bytes | str,
        headers: Headers,
        *,
        secret: Secret | None = None,
    ) -> Training:
        """Verify a webhook, wake the waits for its training, and return the training.

        Args:
            body: The raw body, as received.
            headers: The headers of the request, as the web framework gives them.
            secret: The webhook secret; by default that of the account, as in
                ``client.predictions.handle_webhook``.

        Raises:
            WebhookVerificationError: The request is not signed with the secret; no wait is woken.
        """
        from replicate_async.resources._handle_webhook import (  # noqa: PLC0415 - for webhooks only
            handle_webhook,
        )

        return await handle_webhook(self._context, body, headers, secret, Training)

    async def _page(self, _after: datetime | None, _before: datetime | None) -> Page[Raw]:
        return await self._context.call(TRAININGS_LIST_RAW, is_poll=True)

    def list(self) -> Paginator[Training]:
        """Iterate over the trainings of the account, newest first (trainings.list)."""
        return Paginator(self._context, TRAININGS_LIST)
