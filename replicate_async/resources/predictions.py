"""Predictions: runs of a model, from the request to a terminal state."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Literal

from msgspec import Raw

from replicate_async.core.endpoint import Endpoint
from replicate_async.core.hooks import RequestHooks
from replicate_async.core.poll import Poll
from replicate_async.core.problem import blames_version
from replicate_async.errors import (
    APIStatusError,
    InvalidArgumentError,
    NotFoundError,
    UnprocessableEntityError,
)
from replicate_async.files.find import output_shape
from replicate_async.files.inputs import FileEncoding
from replicate_async.files.output import FileSource
from replicate_async.refs import ModelRef, VersionRef, parse_version
from replicate_async.resources import models
from replicate_async.resources._base import Listing, Resource, run_id
from replicate_async.resources._create import Creation, with_files
from replicate_async.resources._inputs import Input
from replicate_async.resources._notify import receive
from replicate_async.resources._options import Deadline, Wait, check_choice, check_count
from replicate_async.runs.streaming.reader import StreamDeps
from replicate_async.runs.streaming.stream import OnExit, Stream, check_on_exit
from replicate_async.runs.wait import (
    PREDICTION_QUEUE_TIMEOUT,
    PREDICTION_TIMEOUT,
    OnUpdate,
    Source,
)
from replicate_async.runs.waiter import Waits
from replicate_async.runs.watch import Watch
from replicate_async.schemas import (
    CreatePredictionHeaders,
    CreateVersionPrediction,
    ListPredictions,
    Page,
    Prediction,
    WebhookEvent,
)
from replicate_async.webhooks import Headers, Secret

CREATE: Final = Endpoint(
    "POST",
    "/predictions",
    takes=CreateVersionPrediction,
    headers=CreatePredictionHeaders,
    returns=Prediction,
    status=(201, 202),
    bucket="create",
)
GET: Final = Endpoint(
    "GET", "/predictions/{prediction_id}", returns=Prediction, bucket="get", no_cache=True
)
CANCEL: Final = Endpoint(
    "POST", "/predictions/{prediction_id}/cancel", returns=Prediction, idempotent=True
)
LIST: Final = Endpoint(
    "GET", "/predictions", query=ListPredictions, returns=Page[Prediction], no_cache=True
)
_MODEL: Final = replace(models.GET, no_cache=True)
_PAGE: Final = Endpoint(
    "GET", "/predictions", query=ListPredictions, returns=Page[Raw], no_cache=True
)


class Predictions(Resource):
    """Runs of a model; ``client.predictions``."""

    async def create(
        self,
        version: str,
        input: Input | None = None,
        *,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
    ) -> Prediction:
        """Start a prediction and return it as the API first sees it, usually ``starting``.

        *version* is "owner/name" (an official model; for any other, its latest version is looked
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
        creation = Creation(
            self._client,
            input=input,
            wait=wait,
            cancel_after=cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
        )
        return await self.begin(parse_version(version), creation)

    def begin(self, ref: VersionRef, creation: Creation) -> Awaitable[Prediction]:
        """Make *creation* happen; what ``client.run`` and ``client.stream`` stand on."""
        if creation.input.has_files:
            return with_files(creation.input, lambda: self._begin(ref, creation))
        return self._begin(ref, creation)

    async def create_in_batch(
        self,
        ref: VersionRef,
        input: Input,
        hooks: RequestHooks,
        *,
        cancel_after: Deadline,
        webhook: str | None,
        webhook_events_filter: Sequence[WebhookEvent] | None,
        file_encoding: FileEncoding,
    ) -> Prediction:
        """Start a prediction of exactly *ref*; what ``client.batch`` stands on.

        A community model without a version is a `NotFoundError`: a batch looks its version up.
        """
        creation = Creation(
            self._client,
            input=input,
            cancel_after=cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
            hooks=hooks,
        )
        if ref.version is None and ref.model is not None:
            return await creation.once(models.CREATE_PREDICTION, ref.model.path("model"))
        return await with_files(creation.input, lambda: creation.at(CREATE, version=ref.version))

    async def latest(self, model: ModelRef) -> str | None:
        """Return the id of a model's latest version, None if it has none."""
        found = (await self._client.call(_MODEL, model.path("model"))).latest_version
        if found is None:
            return None
        shape = output_shape(found.openapi_schema)
        if shape is not None:
            self._client.output_shapes[found.id] = shape
        return found.id

    def newest(self) -> Awaitable[Page[Raw]]:
        """Fetch predictions that were just created, if there are any."""
        now = datetime.now(UTC)
        return self._page(now, now + timedelta(days=1))

    async def _begin(self, ref: VersionRef, creation: Creation) -> Prediction:
        if ref.model is None or ref.version is not None:
            return await creation.at(CREATE, version=ref.version)
        cached = self._client.latest_versions.get(str(ref.model))
        if cached is None:
            try:
                return await creation.at(models.CREATE_PREDICTION, ref.model.path("model"))
            except NotFoundError as error:
                version = await self._latest_version(ref.model, error)
            return await creation.at(CREATE, version=version)
        try:
            return await creation.at(CREATE, version=cached)
        except UnprocessableEntityError as error:
            if not blames_version(error.problem):
                raise
            self._client.latest_versions.drop(str(ref.model), cached)
            version = await self._latest_version(ref.model, error)
            if version == cached:
                raise
        # Safe: the first create was refused.
        return await creation.at(CREATE, version=version)

    async def _latest_version(self, ref: ModelRef, otherwise: APIStatusError) -> str:
        """Look up the version to run of a community model, which has no endpoint of its own.

        Raises *otherwise* for a model without versions.
        """
        model = await self._client.call(_MODEL, ref.path("model"))
        if model.latest_version is None:
            raise otherwise
        self._client.latest_versions.put(str(ref), model.latest_version.id)
        shape = output_shape(model.latest_version.openapi_schema)
        if shape is not None:
            self._client.output_shapes[model.latest_version.id] = shape
        return model.latest_version.id

    async def get(self, prediction_id: str | Prediction) -> Prediction:
        """Fetch a prediction as it stands now, by its id or a snapshot of it.

        Raises `NotFoundError` when it is unknown or another account's (predictions.get).
        """
        return await self._client.call(GET, {"prediction_id": run_id(self._client, prediction_id)})

    def _poll(self, prediction_id: str) -> Awaitable[Prediction]:
        # Once: a wait repeats its polls itself, and leaves the budget of repeats to others.
        return self._client.call(GET, {"prediction_id": prediction_id}, attempts=1)

    async def cancel(self, prediction_id: str | Prediction) -> Prediction:
        """Stop a prediction and return it; one that has ended is returned unchanged.

        Raises `NotFoundError` when it is unknown (predictions.cancel).
        """
        return await self._client.call(
            CANCEL, {"prediction_id": run_id(self._client, prediction_id)}
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
        return await self.waits().wait(
            run_id(self._client, prediction),
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
    ) -> Watch[Prediction]:
        """Iterate over the changes of a prediction as they are seen, the last one its end.

        Each item is a snapshot, with ``status``, ``logs``, ``output`` and ``progress``; one that
        is given as *prediction* is known already and not repeated, unless it has ended. *timeout*,
        *queue_timeout* and *poll* are as in `wait`. The loop may be left at any time.
        """
        return self.waits().watch(
            run_id(self._client, prediction),
            last=None if isinstance(prediction, str) else prediction,
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
    ) -> Prediction:
        """Verify a webhook, wake whoever waits for its prediction, and return that.

        *body* is the raw body as received, *headers* the request's headers as the framework has
        them. The account's secret is fetched once and again when a signature does not match, once
        a minute at most; *secret* takes its place. Raises `WebhookVerificationError` for a request
        that was not signed with it, which wakes nobody (webhooks.default.secret.get).
        """
        return await receive(self._client, body, headers, secret, Prediction)

    def waits(self) -> Waits[Prediction]:
        """Return what waits for predictions; what ``wait`` and ``watch`` stand on."""
        return self._waits

    @cached_property
    def _waits(self) -> Waits[Prediction]:
        source = Source("prediction", Prediction, self._poll, self._page, windowed=True)
        return Waits(self._client.waiter, source)

    async def _page(self, after: datetime | None, before: datetime | None) -> Page[Raw]:
        query = ListPredictions(created_after=after, created_before=before)
        return await self._client.call(_PAGE, query=query, attempts=1)

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
        prediction_id = run_id(self._client, prediction)
        check_count("received", received, 0, sys.maxsize)

        async def known() -> Prediction:
            return await self.get(prediction_id) if isinstance(prediction, str) else prediction

        return Stream(
            self._runs(),
            known,
            on_exit=check_on_exit(on_exit),
            last_event_id=last_event_id or "",
            received=received,
            poll=poll,
        )

    def _runs(self) -> StreamDeps:
        return StreamDeps(
            self._client.open_stream, self.get, self.cancel, self.waits(), self.files_from()
        )

    def files_from(self) -> FileSource:
        """Return where output files come from."""
        return FileSource(self._client.open_file, self.get, self._client.base)

    def create_and_stream(
        self, ref: VersionRef, creation: Creation, *, on_exit: OnExit, poll: Poll | None
    ) -> Stream:
        """Follow the prediction that *creation* makes; what ``client.stream`` stands on."""
        return Stream(
            self._runs(),
            lambda: self.begin(ref, creation),
            prepare=creation.input.send,
            on_exit=check_on_exit(on_exit),
            poll=poll,
        )

    def list(
        self,
        *,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        source: Literal["web"] | None = None,
    ) -> Listing[Prediction]:
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
        return Listing(self._client, LIST, query=query)

    def listing(self, query: ListPredictions, hooks: RequestHooks) -> Listing[Raw]:
        """Return a listing of items as they come, whose pages *hooks* are told of."""
        return Listing(self._client, _PAGE, query=query, hooks=hooks)


def _is_aware(moment: object) -> bool:
    return isinstance(moment, datetime) and moment.utcoffset() is not None
