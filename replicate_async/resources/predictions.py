"""Predictions: runs of a model, from the request to a terminal state."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from replicate_async.core.poll import Poll
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import parse_version
from replicate_async.resources._base import Resource, run_id
from replicate_async.resources._handle_webhook import handle_webhook
from replicate_async.resources._options import Deadline, Wait, check_choice, check_count
from replicate_async.resources._paginator import Paginator
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._prepared_input import Input
from replicate_async.resources.endpoints import (
    PREDICTIONS_CANCEL,
    PREDICTIONS_GET,
    PREDICTIONS_LIST,
)
from replicate_async.runs.streaming.stream import OnExit, Stream, check_on_exit
from replicate_async.runs.waiting.run_api import (
    PREDICTION_QUEUE_TIMEOUT,
    PREDICTION_TIMEOUT,
    OnUpdate,
)
from replicate_async.runs.waiting.watch import RunUpdates
from replicate_async.schemas import ListPredictions, Prediction, WebhookEvent
from replicate_async.webhooks import Headers, Secret


class Predictions(Resource):
    """Runs of a model; ``client.predictions``."""

    __slots__ = ("_calls",)

    def __init__(self, calls: PredictionCalls) -> None:
        super().__init__(calls.context)
        self._calls = calls

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
    ) -> Prediction:
        """Start a prediction and return it as the API first sees it, usually ``starting``.

        *model* is "owner/name" (an official model; for any other, its latest version is looked
        up, and again after 5 minutes or when it is refused), "owner/name:version" or a version id.
        *input* is a mapping or a msgspec Struct; inputs that are None are left out. *wait* (1 to 60
        seconds, True for 60) asks the API to hold its answer until the output is there, which it
        may not be even then. *cancel_after* (5 seconds to 24 hours; seconds, timedelta or "1h30m")
        ends the run. *webhook* is an https URL that is called when something happens, by default at
        outputs and at the end; *webhook_events_filter* picks from start, output, logs and
        completed.

        Files, anywhere inside the input, are bytes, paths, open files, async iterators of bytes, a
        `File` or an output file: up to 256 kB they go along as data URLs, above that they are
        uploaded first. ``file_encoding="upload"`` uploads them all, ``"data-url"`` none.

        Never sent twice when it may have been acted on: raises `AmbiguousCreateError` then,
        `UnprocessableEntityError` for a wrong input or version, `NotFoundError` for an unknown
        model (predictions.create, models.predictions.create).
        """
        request = PredictionRequest(
            self._context,
            input=input,
            wait=wait,
            cancel_after=cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
        )
        return await self._calls.create(parse_version(model), request)

    async def get(self, prediction_id: str | Prediction) -> Prediction:
        """Fetch a prediction as it stands now, by its id or a snapshot of it.

        Raises `NotFoundError` when it is unknown or another account's (predictions.get).
        """
        return await self._context.call(
            PREDICTIONS_GET, {"prediction_id": run_id(self._context, prediction_id)}
        )

    async def cancel(self, prediction_id: str | Prediction) -> Prediction:
        """Stop a prediction and return it; one that has ended is returned unchanged.

        Raises `NotFoundError` when it is unknown (predictions.cancel).
        """
        return await self._context.call(
            PREDICTIONS_CANCEL, {"prediction_id": run_id(self._context, prediction_id)}
        )

    async def wait(
        self,
        prediction: Prediction | str,
        *,
        timeout: float | None = PREDICTION_TIMEOUT,
        queue_timeout: float | None = PREDICTION_QUEUE_TIMEOUT,
        poll: Poll | None = None,
        on_update: OnUpdate[Prediction] | None = None,
    ) -> Prediction:
        """Return a prediction when it has ended, as it ended: also when it failed.

        *timeout* is in seconds of work, from the first answer that shows the prediction past
        "starting": 35 minutes unless set (the API stops runs after 30), None for no limit.
        *queue_timeout* bounds the time before, in which a machine is found and the model boots: 60
        minutes unless set, None for no limit. Past either `WaitTimeout` is raised and the
        prediction goes on. *poll* sets the pace; unless set, it follows what runs of the model took
        before. *on_update*, a function or an async function, is called with each change (see
        `watch`), the end included; what it raises ends this wait. All waits of a client share one
        schedule, and pages of the listing where those take fewer requests.

        A poll that fails is repeated, at a pace that all waits share, for as long as the wait may
        take. When every poll is refused for 30 seconds (401, 403, 404 and the like), that error is
        raised with ``.prediction``, the state seen last; for a prediction that was seen before and
        is not found any more that is `PredictionGone`. The prediction is not cancelled.
        """
        return await self._calls.waits.wait(
            run_id(self._context, prediction),
            last=None if isinstance(prediction, str) else prediction,
            timeout=timeout,
            queue_timeout=queue_timeout,
            poll=poll,
            on_update=on_update,
        )

    def watch(
        self,
        prediction: Prediction | str,
        *,
        timeout: float | None = PREDICTION_TIMEOUT,
        queue_timeout: float | None = PREDICTION_QUEUE_TIMEOUT,
        poll: Poll | None = None,
    ) -> RunUpdates[Prediction]:
        """Iterate over the changes of a prediction as they are seen, the last one its end.

        Each item is a snapshot, with ``status``, ``logs``, ``output`` and ``progress``; one that
        is given as *prediction* is known already and not repeated, unless it has ended. *timeout*,
        *queue_timeout* and *poll* are as in `wait`. The loop may be left at any time.
        """
        return self._calls.waits.watch(
            run_id(self._context, prediction),
            last=None if isinstance(prediction, str) else prediction,
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
    ) -> Prediction:
        """Verify a webhook, wake whoever waits for its prediction, and return that.

        *body* is the raw body as received, *headers* the request's headers as the framework has
        them. The account's secret is fetched once and again when a signature does not match, once
        a minute at most; *secret* takes its place. Raises `WebhookVerificationError` for a request
        that was not signed with it, which wakes nobody (webhooks.default.secret.get).
        """
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
        """Follow the output of a prediction that was created already; use it with ``async with``.

        *last_event_id* is where another stream of it left off, *received* how many characters of
        output that had brought, so that the rest can be had from the prediction itself when its
        stream has expired. The prediction runs on when the block is left early, unless
        ``on_exit="cancel"``. *poll* sets the pace for models without
        a stream. See `Stream` for what it yields and raises.
        """
        prediction_id = run_id(self._context, prediction)
        check_count("received", received, 0, sys.maxsize)

        async def known() -> Prediction:
            return await self.get(prediction_id) if isinstance(prediction, str) else prediction

        return Stream(
            self._calls.stream_deps,
            known,
            on_exit=check_on_exit(on_exit),
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
        """Iterate over the account's predictions, newest first.

        *created_after* is inclusive, *created_before* exclusive; both need a time zone.
        ``source="web"`` keeps those made on the website in the last 14 days (predictions.list).
        """
        for name, value in (("created_after", created_after), ("created_before", created_before)):
            if value is not None and not _is_aware(value):
                raise InvalidArgumentError(
                    f"{name}={value!r} is no time with a zone; write datetime(..., tzinfo=UTC)."
                )
        check_choice("source", source, ("web",))
        query = ListPredictions(
            created_after=created_after, created_before=created_before, source=source
        )
        return Paginator(self._context, PREDICTIONS_LIST, query=query)


def _is_aware(moment: object) -> bool:
    return isinstance(moment, datetime) and moment.utcoffset() is not None
