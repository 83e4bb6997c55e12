"""Predictions, the runs of a model: `Predictions`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from replicate_async.arguments import check_choice, check_count
from replicate_async.core.endpoint import shorten
from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.resources._base import Resource, run_id
from replicate_async.resources._options import Deadline, Wait
from replicate_async.resources._paginator import Paginator
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._prepared_input import Input
from replicate_async.resources._target import target_of
from replicate_async.resources.endpoints import (
    PREDICTIONS_GET,
    PREDICTIONS_LIST,
)
from replicate_async.runs.waiting.wait_options import (
    PREDICTION_QUEUE_TIMEOUT,
    PREDICTION_TIMEOUT,
    OnUpdate,
    WaitOptions,
)
from replicate_async.runs.waiting.watch import RunUpdates
from replicate_async.schemas import ListPredictions, Prediction, WebhookEvent
from replicate_async.typed import TypedModel

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from replicate_async.resources._arguments import CreateArguments
    from replicate_async.runs.streaming.stream import OnExit, Stream
    from replicate_async.webhooks import Headers, Secret

InputT = TypeVar("InputT")


class Predictions(Resource):
    """Predictions, the runs of a model; ``client.predictions``."""

    __slots__ = ("_calls",)

    def __init__(self, calls: PredictionCalls) -> None:
        super().__init__(calls.context)
        self._calls = calls

    @overload
    async def create(
        self,
        model: TypedModel[InputT, Any],
        input: InputT,
        **options: Unpack[CreateArguments],
    ) -> Prediction: ...

    @overload
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
    ) -> Prediction: ...

    async def create(
        self,
        model: str | TypedModel[Any, Any],
        input: Any = None,
        *,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
    ) -> Prediction:
        """Start a prediction and return it as it begins, usually "starting".

        (predictions.create, models.predictions.create)

        Files, anywhere in the input, are bytes, paths, open files, async iterators of bytes, a
        `File` or a `FileOutput`: up to 256 kB they are sent as data URLs, larger ones are uploaded
        first.

        Example::

            prediction = await client.predictions.create("owner/name", {"image": Path("cat.png")})
            prediction = await client.predictions.wait(prediction)
            print(prediction.status, prediction.output)

        Args:
            model: "owner/name", "owner/name:version", a version id, or a `TypedModel`, which checks
                the input. For a model that is not official the latest version is looked up, and
                kept for 5 minutes or until it is refused.
            input: A mapping or a msgspec Struct; fields that are None are left out, and so are the
                defaults of a Struct with ``omit_defaults``.
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
            InvalidInputError: A typed model does not take the input; nothing was sent.
            AmbiguousCreateError: The prediction may exist; the request is never sent twice.
            UnprocessableEntityError: The input or the version is wrong.
            NotFoundError: The model is unknown.
        """
        target = target_of(model)
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

    async def get(self, prediction_id: str | Prediction) -> Prediction:
        """Fetch a prediction as it is now (predictions.get).

        Example::

            prediction = await client.predictions.get("abc123")
            print(prediction.status, prediction.output)

        Args:
            prediction_id: The id, or a snapshot of the prediction.

        Raises:
            NotFoundError: The prediction is unknown, or another account's.
        """
        return await self._context.call(
            PREDICTIONS_GET, {"prediction_id": run_id(self._context, prediction_id)}
        )

    async def cancel(self, prediction_id: str | Prediction) -> Prediction:
        """Cancel a prediction and return it; one that has ended is unchanged (predictions.cancel).

        Example::

            prediction = await client.predictions.cancel(prediction)
            print(prediction.status)

        Args:
            prediction_id: The id, or a snapshot of the prediction.

        Raises:
            NotFoundError: The prediction is unknown.
        """
        return await self._calls.cancel(run_id(self._context, prediction_id))

    async def wait(
        self,
        prediction: Prediction | str,
        *,
        timeout: float | None = PREDICTION_TIMEOUT,
        queue_timeout: float | None = PREDICTION_QUEUE_TIMEOUT,
        poll: Poll | None = None,
        on_update: OnUpdate[Prediction] | None = None,
    ) -> Prediction:
        """Wait for the end of a prediction and return it, also when it failed.

        All waits of a client share their polls, and read pages of the listing where those take
        fewer requests. A failed poll is repeated for as long as the wait lasts. The prediction is
        never cancelled.

        Example::

            prediction = await client.predictions.wait("abc123", timeout=60)
            print(prediction.status, prediction.output)

        Args:
            prediction: The id, or a snapshot of the prediction.
            timeout: Seconds of work, from the first answer that is past "starting". 35 minutes by
                default (the API stops runs after 30); None for no limit.
            queue_timeout: Seconds before the work, for the queue and the boot of the model. 60
                minutes by default; None for no limit.
            poll: How often the API is asked; by default as runs of the model took before.
            on_update: A function or async function that is called with each change, the end
                included. An exception that it raises ends the wait.

        Raises:
            WaitTimeout: *timeout* or *queue_timeout* is over; the prediction goes on.
            PredictionGone: The prediction was there, and is not found any more.
            APIStatusError: Every poll was refused for 30 seconds (401, 403, 404 and the like);
                ``.prediction`` is the last state.
        """
        return await self._calls.waits.wait(
            run_id(self._context, prediction),
            WaitOptions(timeout, queue_timeout, poll, on_update),
            last=None if isinstance(prediction, str) else prediction,
        )

    def watch(
        self,
        prediction: Prediction | str,
        *,
        timeout: float | None = PREDICTION_TIMEOUT,
        queue_timeout: float | None = PREDICTION_QUEUE_TIMEOUT,
        poll: Poll | None = None,
    ) -> RunUpdates[Prediction]:
        """Iterate over the changes of a prediction with ``async for``; the last one is its end.

        Each item is a snapshot with ``status``, ``logs``, ``output`` and ``progress``. The loop may
        be left at any time.

        Args:
            prediction: The id, or a snapshot of the prediction, which is not repeated unless it has
                ended.
            timeout: Seconds of work; see `wait`.
            queue_timeout: Seconds before the work; see `wait`.
            poll: How often the API is asked; see `wait`.

        Raises:
            WaitTimeout: While iterating, as every error that `wait` raises.
        """
        return self._calls.waits.watch(
            run_id(self._context, prediction),
            WaitOptions(timeout, queue_timeout, poll),
            last=None if isinstance(prediction, str) else prediction,
        )

    async def handle_webhook(
        self,
        body: bytes | str,
        headers: Headers,
        *,
        secret: Secret | None = None,
    ) -> Prediction:
        """Verify a webhook, wake the waits for its prediction, and return the prediction.

        (webhooks.default.secret.get)

        Args:
            body: The raw body, as received.
            headers: The headers of the request, as the web framework gives them.
            secret: The webhook secret. By default that of the account, which is fetched once, and
                again when a signature does not match, at most once a minute.

        Raises:
            WebhookVerificationError: The request is not signed with the secret; no wait is woken.
        """
        from replicate_async.resources._handle_webhook import (  # noqa: PLC0415 - for webhooks only
            handle_webhook,
        )

        return await handle_webhook(self._context, body, headers, secret, Prediction)

    def stream(
        self,
        prediction: Prediction | str,
        *,
        last_event_id: str | None = None,
        received: int | None = None,
        on_exit: OnExit = "continue",
        poll: Poll | None = None,
    ) -> Stream:
        """Return the output of an existing prediction as it is made; use it with ``async with``.

        Example::

            async with client.predictions.stream(prediction.id) as stream:
                async for text in stream.text():
                    print(text, end="")

        Args:
            prediction: The id, or a snapshot of the prediction.
            last_event_id: Where an earlier stream ended (its ``last_event_id``); by default the
                stream begins at the first event.
            received: The characters of output that the earlier stream had brought. With them the
                rest is taken from the prediction if its stream has expired.
            on_exit: Whether leaving the block before the end cancels the prediction ("cancel") or
                not ("continue").
            poll: How often the API is asked about a model that cannot stream.

        Raises:
            InvalidArgumentError: An argument is wrong. `Stream` says what reading raises.
        """
        prediction_id = run_id(self._context, prediction)
        check_count("received", received, 0, sys.maxsize)

        async def known() -> Prediction:
            return await self.get(prediction_id) if isinstance(prediction, str) else prediction

        return self._calls.stream(
            known,
            on_exit=on_exit,
            last_event_id=last_event_id or "",
            received=received,
            poll=poll,
        )

    def list(
        self,
        *,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        source: Literal["web"] | None = None,
    ) -> Paginator[Prediction]:
        """Iterate over the predictions of the account, newest first (predictions.list).

        Example::

            async for prediction in client.predictions.list(created_after=yesterday):
                print(prediction.id, prediction.status)

        Args:
            created_after: The earliest time of creation, with a time zone; inclusive.
            created_before: The latest time of creation, with a time zone; exclusive.
            source: "web" for predictions that were made on the website, in the last 14 days.

        Raises:
            UntrustedURLError: The API points to a page at another address.
            PaginationLoopError: The API points back to a page that was read.
        """
        for name, value in (("created_after", created_after), ("created_before", created_before)):
            if value is not None and not _is_aware(value):
                raise InvalidArgumentError(
                    f"{name}={shorten(value)} has no time zone; write datetime(..., tzinfo=UTC)."
                )
        check_choice("source", source, ("web",))
        query = ListPredictions(
            created_after=created_after, created_before=created_before, source=source
        )
        return Paginator(self._context, PREDICTIONS_LIST, query=query)


def _is_aware(moment: object) -> bool:
    return isinstance(moment, datetime) and moment.utcoffset() is not None
