"""Trainings: runs that make a new version of a model."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Final

from msgspec import Raw

from replicate_async.core.endpoint import Endpoint
from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import parse_model, parse_version
from replicate_async.resources._base import Listing, Resource, run_id
from replicate_async.resources._create import with_files
from replicate_async.resources._inputs import Input, SentInput
from replicate_async.resources._notify import receive
from replicate_async.resources._options import check_events, check_webhook
from replicate_async.runs.wait import (
    TRAINING_QUEUE_TIMEOUT,
    TRAINING_TIMEOUT,
    OnUpdate,
    Source,
)
from replicate_async.runs.waiter import Waits
from replicate_async.runs.watch import Watch
from replicate_async.schemas import CreateTraining, Page, Training, WebhookEvent
from replicate_async.webhooks import Headers, Secret

CREATE: Final = Endpoint(
    "POST",
    "/models/{model_owner}/{model_name}/versions/{version_id}/trainings",
    takes=CreateTraining,
    returns=Training,
    status=(201,),
)
GET: Final = Endpoint("GET", "/trainings/{training_id}", returns=Training, no_cache=True)
CANCEL: Final = Endpoint(
    "POST", "/trainings/{training_id}/cancel", returns=Training, idempotent=True
)
LIST: Final = Endpoint("GET", "/trainings", returns=Page[Training], no_cache=True)
_PAGE: Final = Endpoint("GET", "/trainings", returns=Page[Raw], no_cache=True)


class Trainings(Resource):
    """Runs that make a new version of a model; ``client.trainings``."""

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
        ref = parse_version(version)
        if ref.model is None or ref.version is None:
            raise InvalidArgumentError(
                f'version={version!r} must be "owner/name:version": a training names both the '
                "model and the version it starts from."
            )
        sent = SentInput(self._client, input, file_encoding)
        body = CreateTraining(
            destination=str(parse_model(destination, "destination")),
            input=sent.values,
            webhook=check_webhook(webhook),
            webhook_events_filter=check_events(webhook_events_filter),
        )
        path = ref.model.path("model") | {"version_id": ref.version}
        return await with_files(sent, lambda: self._client.call(CREATE, path, body=body))

    async def get(self, training_id: str | Training) -> Training:
        """Fetch a training as it stands now, by its id or a snapshot of it (trainings.get)."""
        return await self._client.call(GET, {"training_id": run_id(self._client, training_id)})

    def _poll(self, training_id: str) -> Awaitable[Training]:
        return self._client.call(GET, {"training_id": training_id}, attempts=1)

    async def cancel(self, training_id: str | Training) -> Training:
        """Stop a training; one that has ended is returned unchanged (trainings.cancel)."""
        return await self._client.call(CANCEL, {"training_id": run_id(self._client, training_id)})

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
        return await self.waits().wait(
            run_id(self._client, training),
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
    ) -> Watch[Training]:
        """Iterate over the changes of a training, as ``client.predictions.watch`` does."""
        return self.waits().watch(
            run_id(self._client, training),
            last=None if isinstance(training, str) else training,
            timeout=timeout,
            queue_timeout=queue_timeout,
            poll=poll,
        )

    async def notify(
        self,
        body: bytes | str,
        headers: Headers,
        *,
        secret: Secret | None = None,
    ) -> Training:
        """Verify a webhook, wake whoever waits for its training, and return that.

        As ``client.predictions.notify``; raises `WebhookVerificationError` for a request that the
        account's secret does not vouch for.
        """
        return await receive(self._client, body, headers, secret, Training)

    def waits(self) -> Waits[Training]:
        """Return what waits for trainings; what ``wait`` and ``watch`` stand on."""
        return self._waits

    @cached_property
    def _waits(self) -> Waits[Training]:
        source = Source("training", Training, self._poll, self._page, windowed=False)
        return Waits(self._client.waiter, source)

    async def _page(self, _after: datetime | None, _before: datetime | None) -> Page[Raw]:
        return await self._client.call(_PAGE, attempts=1)

    def list(self) -> Listing[Training]:
        """Iterate over the account's trainings, newest first (trainings.list)."""
        return Listing(self._client, LIST)
