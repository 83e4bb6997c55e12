"""The calls on predictions that ``client.predictions``, ``run``, ``stream`` and ``batch`` share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Raw

from replicate_async.arguments import check_instance
from replicate_async.context import ClientContext
from replicate_async.core.hooks import RequestHooks
from replicate_async.core.poll import Poll
from replicate_async.core.problem import blames_version
from replicate_async.errors import NotFoundError, UnprocessableEntityError
from replicate_async.files.file_source import FileSource
from replicate_async.files.find import output_shape
from replicate_async.files.opener import FileOpener
from replicate_async.refs import ModelRef, VersionRef
from replicate_async.resources._paginator import Paginator
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._prepared_input import with_files
from replicate_async.resources.endpoints import (
    DEPLOYMENTS_PREDICTIONS_CREATE,
    MODELS_GET_UNCACHED,
    MODELS_PREDICTIONS_CREATE,
    PREDICTIONS_CANCEL,
    PREDICTIONS_CREATE,
    PREDICTIONS_GET,
    PREDICTIONS_LIST_RAW,
)
from replicate_async.runs.waiting.run_api import RunApi
from replicate_async.runs.waiting.watch import PredictionWaits
from replicate_async.schemas import ListPredictions, Page, Prediction, Training, Version

if TYPE_CHECKING:
    from replicate_async.runs.streaming.stream import OnExit, Stream

AnyRun = TypeVar("AnyRun", Prediction, Training)


class PredictionCalls:
    """The requests about predictions of one client, and what waits, streams and files need."""

    __slots__ = ("context", "files", "waits")

    def __init__(self, context: ClientContext) -> None:
        self.context: ClientContext = context
        self.waits: PredictionWaits[Prediction] = PredictionWaits(
            context.tracker,
            RunApi("prediction", Prediction, self._poll, self._page, context.redact, windowed=True),
        )
        self.files: FileSource = FileSource(FileOpener(context.open_file, self.get), context.base)

    def get(self, prediction_id: str) -> Awaitable[Prediction]:
        """Fetch a prediction (predictions.get)."""
        return self.context.call(PREDICTIONS_GET, {"prediction_id": prediction_id})

    async def cancel(self, prediction_id: str) -> Prediction:
        """Cancel a prediction (predictions.cancel), and record its end."""
        path = {"prediction_id": prediction_id}
        return self.recorded(await self.context.call(PREDICTIONS_CANCEL, path))

    def _poll(self, prediction_id: str) -> Awaitable[Prediction]:
        # One try: a wait repeats its polls itself, and leaves the retry budget to other requests.
        return self.context.call(PREDICTIONS_GET, {"prediction_id": prediction_id}, is_poll=True)

    async def _page(self, after: datetime | None, before: datetime | None) -> Page[Raw]:
        query = ListPredictions(created_after=after, created_before=before)
        return await self.context.call(PREDICTIONS_LIST_RAW, query=query, is_poll=True)

    def probe_clock(self) -> Awaitable[Page[Raw]]:
        """Fetch a page that is nearly always empty: its headers tell the time of the API."""
        now = datetime.now(UTC)
        return self._page(now, now + timedelta(days=1))

    def pages(
        self, after: datetime, before: datetime, hooks: RequestHooks
    ) -> AsyncIterator[Page[Raw]]:
        """Iterate over the predictions created from *after* to *before*, page by page."""
        query = ListPredictions(created_after=after, created_before=before)
        return Paginator(self.context, PREDICTIONS_LIST_RAW, query=query, hooks=hooks).pages()

    def create(
        self, model: VersionRef, request: PredictionRequest, *, look_up: bool = True
    ) -> Coroutine[Any, Any, Prediction]:
        """Create a prediction of *model*, which may be a deployment.

        With *look_up* the version of a community model is looked up; without, such a model raises
        `NotFoundError`.
        """
        return with_files(request.input, lambda: self._create(model, request, look_up=look_up))

    def recorded(self, answer: AnyRun) -> AnyRun:
        """Return *answer*, the run of a create or cancel, whose end is recorded if it has ended.

        No wait may see it.
        """
        if answer.status != "starting" and answer.done:
            self.context.tracker.record_end(answer)
        return answer

    def stream(
        self,
        run: Callable[[], Awaitable[Prediction]],
        *,
        ref: VersionRef | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        on_exit: OnExit,
        poll: Poll | None,
        last_event_id: str = "",
        received: int | None = None,
    ) -> Stream:
        """Return the stream of the prediction that *run* creates or fetches, after *prepare*."""
        from replicate_async.runs.streaming.reader import (  # noqa: PLC0415 - for streams only
            StreamDeps,
        )
        from replicate_async.runs.streaming.stream import (  # noqa: PLC0415 - for streams only
            Stream,
            check_on_exit,
        )

        context = self.context
        return Stream(
            StreamDeps(
                context.open_stream, self.get, self.cancel, self.waits, self.files, context.redact
            ),
            run,
            prepare=prepare,
            start_span=partial(context.start_span, ref, is_stream=True),
            on_exit=check_on_exit(on_exit),
            last_event_id=last_event_id,
            received=received,
            poll=poll,
        )

    def _create(
        self, ref: VersionRef, request: PredictionRequest, *, look_up: bool
    ) -> Awaitable[Prediction]:
        if ref.deployment is not None:
            path = ref.deployment.path("deployment")
            return request.create_at(DEPLOYMENTS_PREDICTIONS_CREATE, path)
        if ref.model is None or ref.version is not None:
            return request.create_at(PREDICTIONS_CREATE, version=ref.version)
        if not look_up:
            return request.create_at(MODELS_PREDICTIONS_CREATE, ref.model.path("model"))
        return self._create_latest(ref.model, request)

    async def _create_latest(self, model: ModelRef, request: PredictionRequest) -> Prediction:
        latest_versions = self.context.models.latest_versions
        cached = latest_versions.get(str(model))
        # Creating a second time is safe below: the first create was refused.
        if cached is None:
            try:
                return await request.create_at(MODELS_PREDICTIONS_CREATE, model.path("model"))
            except NotFoundError:  # a community model has no endpoint of its own
                version = await self.latest_version(model)
                if version is None:
                    raise
        else:
            try:
                return await request.create_at(PREDICTIONS_CREATE, version=cached)
            except UnprocessableEntityError as error:
                if not blames_version(error.problem):
                    raise
                latest_versions.drop(str(model), cached)
                version = await self.latest_version(model)
                if version in {None, cached}:
                    raise
        return await request.create_at(PREDICTIONS_CREATE, version=version)

    async def latest_version(self, model: ModelRef) -> str | None:
        """Look up the id of a model's latest version; None if it has none (models.get)."""
        path = model.path("model")
        version = (await self.context.call(MODELS_GET_UNCACHED, path)).latest_version
        if version is None:
            return None
        self.context.models.learn_latest(model, version)
        return version.id

    def output(self, prediction: Prediction, version: Version | None = None) -> Any:
        """Return the output of *prediction*, with its files as `FileOutput`."""
        if version is None:
            shape = self.context.models.shape_of(prediction)
        else:
            check_instance("version", version, Version)
            shape = output_shape(version.openapi_schema)
        return self.files.output(prediction, shape)
