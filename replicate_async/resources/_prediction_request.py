"""The request that creates a prediction, for three resources, `run`, `stream` and `batch`."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from replicate_async.context import NO_PATH, ClientContext
from replicate_async.core.endpoint import Endpoint
from replicate_async.core.hooks import RequestHooks
from replicate_async.files.inputs import FileEncoding
from replicate_async.resources._options import (
    Deadline,
    Wait,
    check_events,
    check_webhook,
    create_headers,
)
from replicate_async.resources._prepared_input import Input, PreparedInput
from replicate_async.schemas import (
    CreatePrediction,
    CreateVersionPrediction,
    Prediction,
    WebhookEvent,
)
from replicate_async.typed import Contract


class PredictionRequest:
    """The options of a create, checked, and its input, encoded and checked with the *contract*.

    It can be sent to one endpoint after another; the files of its input are sent once.
    """

    __slots__ = ("_context", "_events", "_headers", "_hooks", "_wait", "_webhook", "input")

    def __init__(
        self,
        context: ClientContext,
        *,
        input: Input | None,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        contract: Contract | None = None,
        hooks: RequestHooks | None = None,
    ) -> None:
        self._context = context
        self._hooks = hooks
        self._wait = wait
        self._headers = create_headers(wait, cancel_after)
        self._webhook = check_webhook(webhook)
        self._events = check_events(webhook_events_filter)
        self.input: PreparedInput = PreparedInput(context, input, file_encoding, contract)

    def set_deadline(self, cancel_after: Deadline) -> None:
        """Set when the API cancels the next prediction."""
        self._headers = create_headers(self._wait, cancel_after)

    def create_at(
        self,
        endpoint: Endpoint[Prediction],
        path: Mapping[str, str] = NO_PATH,
        *,
        version: str | None = None,
    ) -> Awaitable[Prediction]:
        """Create the prediction at *endpoint*, once its files are sent."""
        if self._hooks is not None:
            self._hooks.sending(self.input.values, self.input.secrets)
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
        return self._context.call(
            endpoint,
            path,
            headers=self._headers.headers,
            body=body,
            hold=self._headers.hold,
            hooks=self._hooks,
        )
