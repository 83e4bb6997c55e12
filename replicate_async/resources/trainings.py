"""Trainings: runs that make a new version of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from replicate_async.core.endpoint import Endpoint
from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import parse_model, parse_version
from replicate_async.resources._base import Listing, Resource, run_id
from replicate_async.resources._create import with_files
from replicate_async.resources._inputs import Input, SentInput
from replicate_async.resources._options import check_events, check_webhook
from replicate_async.runs.wait import TRAINING_TIMEOUT, wait_for
from replicate_async.schemas import CreateTraining, Page, Training, WebhookEvent

CREATE: Final = Endpoint(
    "POST",
    "/models/{model_owner}/{model_name}/versions/{version_id}/trainings",
    takes=CreateTraining,
    returns=Training,
    status=(201,),
)
GET: Final = Endpoint("GET", "/trainings/{training_id}", returns=Training)
CANCEL: Final = Endpoint(
    "POST", "/trainings/{training_id}/cancel", returns=Training, idempotent=True
)
LIST: Final = Endpoint("GET", "/trainings", returns=Page[Training])


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

    async def cancel(self, training_id: str | Training) -> Training:
        """Stop a training; one that has ended is returned unchanged (trainings.cancel)."""
        return await self._client.call(CANCEL, {"training_id": run_id(self._client, training_id)})

    async def wait(
        self,
        training: Training | str,
        *,
        timeout: float | None = TRAINING_TIMEOUT,
        poll: Poll | None = None,
    ) -> Training:
        """Poll until a training has ended, and return it as it ended: also when it failed.

        *timeout* is in seconds, 24 hours unless set, None for no limit; past it `WaitTimeout` is
        raised and the training goes on. *poll* sets the pace.
        """
        last = None if isinstance(training, str) else training
        return await wait_for(
            self.get,
            run_id(self._client, training),
            last=last,
            timeout=timeout,
            poll=poll,
        )

    def list(self) -> Listing[Training]:
        """Iterate over the account's trainings, newest first (trainings.list)."""
        return Listing(self._client, LIST)
