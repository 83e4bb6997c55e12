"""Creating a prediction, which three resources do in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from replicate_async.core.endpoint import Endpoint
from replicate_async.files.inputs import encode_input
from replicate_async.resources._base import NO_PATH, Caller
from replicate_async.resources._options import Deadline, Wait, check_events, check_webhook, hold
from replicate_async.schemas import (
    CreatePrediction,
    CreateVersionPrediction,
    Prediction,
    WebhookEvent,
)

Input = Mapping[str, object] | msgspec.Struct


async def create_prediction(
    client: Caller,
    endpoint: Endpoint[Prediction],
    path: Mapping[str, str] = NO_PATH,
    *,
    version: str | None = None,
    input: Input | None,
    wait: Wait,
    cancel_after: Deadline,
    webhook: str | None,
    webhook_events_filter: Sequence[WebhookEvent] | None,
) -> Prediction:
    """Check the options and create the prediction at *endpoint*."""
    held = hold(wait, cancel_after)
    body = CreatePrediction(
        input=encode_input(input),
        webhook=check_webhook(webhook),
        webhook_events_filter=check_events(webhook_events_filter),
    )
    if version is not None:
        body = CreateVersionPrediction(
            version=version,
            input=body.input,
            webhook=body.webhook,
            webhook_events_filter=body.webhook_events_filter,
        )
    return await client.call(endpoint, path, headers=held.headers, body=body, hold=held.seconds)
