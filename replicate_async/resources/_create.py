"""Creating a prediction, which three resources do in the same way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from replicate_async.core.endpoint import Endpoint
from replicate_async.core.hooks import RequestHooks
from replicate_async.errors import AmbiguousCreateError, ReplicateError
from replicate_async.files.inputs import FileEncoding
from replicate_async.resources._base import NO_PATH, Caller
from replicate_async.resources._inputs import Input, SentInput
from replicate_async.resources._options import Deadline, Wait, check_events, check_webhook, hold
from replicate_async.schemas import (
    CreatePrediction,
    CreateVersionPrediction,
    Prediction,
    WebhookEvent,
)

R = TypeVar("R")


class Creation:
    """A prediction to be created: its options checked, its input encoded.

    It can be asked for at one endpoint after another; the files of its input are sent once.
    """

    __slots__ = ("_client", "_events", "_held", "_hooks", "_webhook", "input")

    def __init__(
        self,
        client: Caller,
        *,
        input: Input | None,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        hooks: RequestHooks | None = None,
    ) -> None:
        self._client = client
        self._hooks = hooks
        self._held = hold(wait, cancel_after)
        self._webhook = check_webhook(webhook)
        self._events = check_events(webhook_events_filter)
        self.input: SentInput = SentInput(client, input, file_encoding)

    def at(
        self,
        endpoint: Endpoint[Prediction],
        path: Mapping[str, str] = NO_PATH,
        *,
        version: str | None = None,
    ) -> Awaitable[Prediction]:
        """Create it at *endpoint*, once the files were sent."""
        body: CreatePrediction
        if version is None:
            body = CreatePrediction(
                input=self.input.values, webhook=self._webhook, webhook_events_filter=self._events
            )
        else:
            body = CreateVersionPrediction(
                version=version,
                input=self.input.values,
                webhook=self._webhook,
                webhook_events_filter=self._events,
            )
        held = self._held
        return self._client.call(
            endpoint,
            path,
            headers=held.headers,
            body=body,
            hold=held.seconds,
            hooks=self._hooks,
        )

    async def once(
        self,
        endpoint: Endpoint[Prediction],
        path: Mapping[str, str],
    ) -> Prediction:
        """Send the files, and create it at *endpoint*."""
        return await with_files(self.input, lambda: self.at(endpoint, path))


async def with_files(input: SentInput, create: Callable[[], Awaitable[R]]) -> R:
    """Send the files of *input*, then *create*; without success nobody needs the files any more."""
    if input.waiting:
        await input.send()
    try:
        return await create()
    except AmbiguousCreateError:
        raise  # what was created after all reads them
    except ReplicateError:
        await input.withdraw()
        raise
