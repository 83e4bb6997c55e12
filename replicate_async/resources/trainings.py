"""Trainings: runs that make a new version of a model."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime

from msgspec import Raw

from replicate_async.context import ClientContext
from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import parse_model, parse_version
from replicate_async.resources._base import Resource, run_id
from replicate_async.resources._handle_webhook import handle_webhook
from replicate_async.resources._options import check_events, check_webhook
from replicate_async.resources._paginator import Paginator
from replicate_async.resources._prepared_input import Input, PreparedInput, with_files
from replicate_async.resources.endpoints import (
    TRAININGS_CANCEL,
    TRAININGS_CREATE,
    TRAININGS_GET,
    TRAININGS_LIST,
    TRAININGS_LIST_RAW,
)
from replicate_async.runs.waiting.run_api import (
    TRAINING_QUEUE_TIMEOUT,
    TRAINING_TIMEOUT,
    OnUpdate,
    RunApi,
)
from replicate_async.runs.waiting.watch import PredictionWaits, RunUpdates
from replicate_async.schemas import CreateTraining, Page, Training, WebhookEvent
from replicate_async.webhooks import Headers, Secret


class Trainings(Resource):
    """Runs that make a new version of a model; ``client.trainings``."""

    __slots__ = ("_waits",)

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._waits: PredictionWaits[Training] = PredictionWaits(
            context.tracker,
            RunApi("training", Training, self._poll, self._page, windowed=False),
        )

    async def create(
        self,
        version: str,
        *,
        destination: str,
        input: Input,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
    ) -> Training:
        """Start a training of *version*, "owner/name:version", into the model *destination*.

        *destination* is "owner/name" of a model of yours that exists; the new version lands there.
        Webhooks and *file_encoding* are as in ``client.predictions.create``. Never sent twice:
        raises `AmbiguousCreateError` when its fate is unknown (trainings.create).
        """
        ref = parse_version(version, "version")
        if ref.model is None or ref.version is None:
            raise InvalidArgumentError(
                f'version={version!r} must be "owner/name:version": a training names both the '
                "model and the version it starts from."
            )
        prepared = PreparedInput(self._context, input, file_encoding)
        body = CreateTraining(
            destination=str(parse_model(destination, "destination")),
            input=prepared.values,
            webhook=check_webhook(webhook),
            webhook_events_filter=check_events(webhook_events_filter),
        )
        path = ref.model.path("model") | {"version_id": ref.version}
        return await with_files(
            prepared, lambda: self._context.call(TRAININGS_CREATE, path, body=body)
        )

    async def get(self, training_id: str | Training) -> Training:
        """Fetch a training as it stands now, by its id or a snapshot of it (trainings.get)."""
        return await self._context.call(
            TRAININGS_GET, {"training_id": run_id(self._context, training_id)}
        )

    def _poll(self, training_id: str) -> Awaitable[Training]:
        return self._context.call(TRAININGS_GET, {"training_id": training_id}, attempts=1)

    async def cancel(self, training_id: str | Training) -> Training:
        """Stop a training; one that has ended is returned unchanged (trainings.cancel)."""
        return await self._context.call(
            TRAININGS_CANCEL, {"training_id": run_id(self._context, training_id)}
        )

    async def wait(
        self,
        training: Training | str,
        *,
        timeout: float | None = TRAINING_TIMEOUT,
        queue_timeout: float | None = TRAINING_QUEUE_TIMEOUT,
        poll: Poll | None = None,
        on_update: OnUpdate[Training] | None = None,
    ) -> Training:
        """Return a training when it has ended, as it ended: also when it failed.

        *timeout* (seconds of work) and *queue_timeout* (seconds before it) are 24 hours each unless
        set, None for no limit; past either `WaitTimeout` is raised and the training goes on. They,
        *poll* and *on_update* are as in ``client.predictions.wait``.
        """
        return await self._waits.wait(
            run_id(self._context, training),
            last=None if isinstance(training, str) else training,
            timeout=timeout,
            queue_timeout=queue_timeout,
            poll=poll,
            on_update=on_update,
        )

    def watch(
        self,
        training: Training | str,
        *,
        timeout: float | None = TRAINING_TIMEOUT,
        queue_timeout: float | None = TRAINING_QUEUE_TIMEOUT,
        poll: Poll | None = None,
    ) -> RunUpdates[Training]:
        """Iterate over the changes of a training, as ``client.predictions.watch`` does."""
        return self._waits.watch(
            run_id(self._context, training),
            last=None if isinstance(training, str) else training,
            timeout=timeout,
            queue_timeout=queue_timeout,
            poll=poll,
        )

    async def handle_webhook(
        self,
        body: bytes | str,
        headers: Headers,
        *,
        secret: Secret | None = None,
    ) -> Training:
        """Verify a webhook, wake the waits for its training, and return the training.

        The arguments are those of ``client.predictions.handle_webhook``. Raises
        `WebhookVerificationError` for a request that is not signed with the account's secret.
        """
        return await handle_webhook(self._context, body, headers, secret, Training)

    async def _page(self, _after: datetime | None, _before: datetime | None) -> Page[Raw]:
        return await self._context.call(TRAININGS_LIST_RAW, attempts=1)

    def list(self) -> Paginator[Training]:
        """Iterate over the account's trainings, newest first (trainings.list)."""
        return Paginator(self._context, TRAININGS_LIST)
