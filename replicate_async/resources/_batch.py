"""``client.batch``: its options, checked before anything is sent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, get_args, overload

import msgspec
from msgspec import Raw

from replicate_async.core.api_clock import ApiClock, answered_at
from replicate_async.core.endpoint import shorten
from replicate_async.core.hooks import RequestHooks
from replicate_async.core.poll import Poll
from replicate_async.errors import DecodeError, InvalidArgumentError, NotFoundError
from replicate_async.files.find import Shape
from replicate_async.files.inputs import FileEncoding
from replicate_async.refs import VersionRef, parse_version
from replicate_async.resources._options import (
    Deadline,
    check_choice,
    check_count,
    check_events,
    check_webhook,
    hold,
)
from replicate_async.runs.batch import frames
from replicate_async.runs.batch.batch import Batch
from replicate_async.runs.batch.calls import (
    BatchOptions,
    Calls,
    Listed,
    ListedPage,
    OnError,
    Patience,
)
from replicate_async.runs.batch.engine import Engine
from replicate_async.runs.batch.item_files import save_item
from replicate_async.runs.batch.journal.resolve import resolve_absent, resolve_found
from replicate_async.runs.batch.key_field import KeyField
from replicate_async.runs.batch.results import BatchProgress, ItemInput
from replicate_async.runs.batch.sources import Key, Match, open_source
from replicate_async.runs.glance import decode, glance
from replicate_async.runs.streaming.stream import OnExit, check_on_exit
from replicate_async.runs.wait import check_poll, check_timeout
from replicate_async.schemas import ListPredictions, Prediction, WebhookEvent

if TYPE_CHECKING:
    from replicate_async.resources.models import Models
    from replicate_async.resources.predictions import Predictions

T = TypeVar("T")


class BatchClient(Protocol):
    """What a batch needs of the client."""

    models: Models
    predictions: Predictions

    @property
    def user_agent(self) -> str:
        """What this package calls itself, with its version."""
        ...

    @property
    def api_clock(self) -> ApiClock:
        """What answers have told of the API's clock."""
        ...

    @property
    def requests_sent(self) -> int:
        """How many requests have left."""
        ...

    @property
    def batches(self) -> set[Engine]:
        """The batches that are to be closed before the client is."""
        ...

    @property
    def output_shapes(self) -> dict[str, Shape]:
        """What the outputs of versions that were looked up are, by version."""
        ...

    def output(self, prediction: Prediction) -> Any:
        """Return an output with its files."""
        ...


class Batches:
    """Runs of a model over many inputs; ``client.batch(...)`` makes one."""

    __slots__ = ("_client",)

    def __init__(self, client: BatchClient) -> None:
        self._client = client

    @overload
    def __call__(
        self,
        ref: str,
        inputs: Iterable[ItemInput] | AsyncIterable[ItemInput] | object,
        *,
        type: type[T],
        concurrency: int | None = None,
        ordered: bool = False,
        journal: str | os.PathLike[str] | None = None,
        key: Key = None,
        match: Match = "input",
        on_error: OnError = "collect",
        on_exit: OnExit = "cancel",
        retries: int = 0,
        retry_failed: bool = False,
        save_files: str | os.PathLike[str] | None = None,
        max_seconds: float | None = None,
        max_predictions: int | None = None,
        dry_run: bool = False,
        on_progress: Callable[[BatchProgress], object] | None = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        timeout: float | None = None,
        queue_timeout: float | None = None,
        poll: Poll | None = None,
        patience: Patience | None = None,
    ) -> Batch[T]: ...

    @overload
    def __call__(
        self,
        ref: str,
        inputs: Iterable[ItemInput] | AsyncIterable[ItemInput] | object,
        *,
        type: None = None,
        concurrency: int | None = None,
        ordered: bool = False,
        journal: str | os.PathLike[str] | None = None,
        key: Key = None,
        match: Match = "input",
        on_error: OnError = "collect",
        on_exit: OnExit = "cancel",
        retries: int = 0,
        retry_failed: bool = False,
        save_files: str | os.PathLike[str] | None = None,
        max_seconds: float | None = None,
        max_predictions: int | None = None,
        dry_run: bool = False,
        on_progress: Callable[[BatchProgress], object] | None = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        timeout: float | None = None,
        queue_timeout: float | None = None,
        poll: Poll | None = None,
        patience: Patience | None = None,
    ) -> Batch[Any]: ...

    def __call__(
        self,
        ref: str,
        inputs: Iterable[ItemInput] | AsyncIterable[ItemInput] | object,
        *,
        type: type[T] | None = None,
        concurrency: int | None = None,
        ordered: bool = False,
        journal: str | os.PathLike[str] | None = None,
        key: Key = None,
        match: Match = "input",
        on_error: OnError = "collect",
        on_exit: OnExit = "cancel",
        retries: int = 0,
        retry_failed: bool = False,
        save_files: str | os.PathLike[str] | None = None,
        max_seconds: float | None = None,
        max_predictions: int | None = None,
        dry_run: bool = False,
        on_progress: Callable[[BatchProgress], object] | None = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        timeout: float | None = None,
        queue_timeout: float | None = None,
        poll: Poll | None = None,
        patience: Patience | None = None,
    ) -> Batch[T] | Batch[Any]:
        """Run a model over *inputs*, each created once; iterate over what this returns.

        *ref*, *cancel_after*, *webhook*, *webhook_events_filter* and *file_encoding* are those of
        ``predictions.create``, *timeout* and *queue_timeout* (no limits unless set) and *poll*
        those of ``predictions.wait``, *type* that of ``client.run``. *inputs* is an iterable, an
        asynchronous iterable or a data frame, of any length; a few hundred are read ahead. A slow
        iterator blocks the event loop, unless it is asynchronous. What an iterator raises is raised
        when all that it gave before has ended and was handed over.

        *concurrency* is how many predictions run at a time; by default as many as it takes to
        create at the pace of ``Limits(creates=...)``, at most 1,000. Results come as they are
        there, or with *ordered* in the order of the inputs, which at most 4 times *concurrency*
        items wait for.

        *journal* is a file that makes the batch one to resume: what is done is not asked again,
        what was created is waited for, and a create that may have happened is looked for in the
        list of predictions and never repeated on a guess. *key* names a field, or is a function,
        that gives each input a name of its own; else the name is a digest of model and input. A
        field that is no input of the model, by its schema, is not sent: that is looked up once,
        before the first create. With ``match="key"`` the key alone says which item an input is: its
        values, such as signed URLs, may differ at each run. Otherwise a key with other values than
        the journal knows is refused.

        An item that fails has an `error`, or raises it with ``on_error="raise"``. *retries* is how
        often a prediction is made again that was aborted, or failed because of the service and not
        of the model; *retry_failed* runs once more what the journal has as failed. What would hit
        every item (401, 402 or 403 of a create, 401 of every poll for 30 seconds, an unknown model,
        a journal that fails) is raised, and ends the batch.

        *save_files* is a folder where output files are saved before an item counts as done. They
        are named after the key, with a digest of it where it is no plain name in lower case, so
        that no two keys share a name; a file that is there already is never replaced.
        *max_predictions* and *max_seconds* end the creating, not what runs then.
        *on_exit* says whether leaving early cancels what runs ("cancel") or not ("continue").
        *dry_run* creates nothing: each input is looked at and compared with the model's schema,
        and the `summary` says how many would be created. *on_progress* is called with a
        `BatchProgress`, 10 times a second at most, once at least, and at the end. *patience* holds
        the times after which lost creates, outages and failures are given up.

        Raises `InvalidArgumentError` for arguments that cannot be right.
        """
        version = parse_version(ref, "ref")
        held = hold(None, cancel_after)
        check_choice("file_encoding", file_encoding, get_args(FileEncoding))
        check_webhook(webhook)
        events = check_events(webhook_events_filter)
        check_poll(poll)
        check_timeout(timeout)
        check_timeout(queue_timeout, "queue_timeout")
        options = BatchOptions(
            model=str(version),
            version=version.version,
            concurrency=concurrency,
            ordered=ordered,
            journal=None if journal is None else _path("journal", journal),
            key=key,
            match=match,
            digest=_digest(held.headers, webhook, events),
            sdk=self._client.user_agent,
            on_error=on_error,
            on_exit=check_on_exit(on_exit),
            retries=retries,
            retry_failed=retry_failed,
            save_files=None if save_files is None else Path(_path("save_files", save_files)),
            max_seconds=max_seconds,
            max_predictions=max_predictions,
            dry_run=dry_run,
            on_progress=on_progress,
            patience=patience or Patience(),
        )
        _check(options)
        client, predictions = self._client, self._client.predictions

        def schema() -> Awaitable[Mapping[str, Any] | None]:
            return _schema(client.models, version)

        key_field = KeyField(key, schema) if isinstance(key, str) else None

        async def create(given: ItemInput, latest: str | None, hooks: RequestHooks) -> Prediction:
            return await predictions.create_in_batch(
                version if latest is None else version._replace(version=latest),
                given if key_field is None else key_field.as_sent(given),
                hooks,
                cancel_after=cancel_after,
                webhook=webhook,
                webhook_events_filter=events,
                file_encoding=file_encoding,
            )

        async def latest_version() -> str | None:
            return None if version.model is None else await predictions.latest(version.model)

        async def wait(prediction_id: str) -> Prediction:
            return await predictions.wait(
                prediction_id, timeout=timeout, queue_timeout=queue_timeout, poll=poll
            )

        async def save(prediction: Prediction, folder: Path, key: str) -> Sequence[Path]:
            return await save_item(client.output(prediction), folder, key)

        def output(prediction: Prediction) -> Any:
            if type is None:
                return client.output(prediction)
            return predictions.files_from().output_as(prediction, type, shape(prediction))

        def shape(prediction: Prediction) -> Shape | None:
            return client.output_shapes.get(prediction.version or "")

        def is_text(prediction: Prediction) -> bool:
            known = shape(prediction)
            return known is not None and known.is_text

        calls = Calls(
            create=create,
            latest_version=latest_version,
            learn_time=predictions.newest,
            wait=wait,
            get=predictions.get,
            cancel=predictions.cancel,
            pages=lambda after, before: _pages(predictions, after, before),
            clock=client.api_clock,
            output=output,
            is_text=is_text,
            save=save,
            input_schema=schema,
            requests=lambda: client.requests_sent,
            key_field=key_field,
        )
        return Batch(open_source(_rows(inputs)), options, calls, client.batches)

    async def resolve(
        self,
        journal: str | os.PathLike[str],
        key: str,
        *,
        prediction: str | Prediction | None = None,
        absent: bool = False,
    ) -> None:
        """Record in a *journal* what became of a create that a batch could not find out about.

        *key* is that of a result that is `uncertain`. Look for its prediction on the website or
        with ``predictions.list``; give the *prediction* that you found, which the next run of the
        batch waits for, or *absent* when there is none, and the next run creates it.

        Raises `InvalidArgumentError` for a key that is unknown or not undecided, and for a
        prediction that is not there, of another model, or another item's; `JournalLocked` while a
        batch uses the journal.
        """
        path = _path("journal", journal)
        if (prediction is None) is not absent:
            raise InvalidArgumentError(
                "give either prediction= or absent=True: what became of the create."
            )
        if prediction is None:
            await resolve_absent(path, key)
            return
        found = prediction.id if isinstance(prediction, Prediction) else prediction
        await resolve_found(path, key, found, self._client.predictions.get)


class _WrittenAt(RequestHooks):
    """When the latest page of a listing was written, by the API's clock."""

    def __init__(self) -> None:
        self.time: float | None = None

    def answered(self, headers: Mapping[str, str]) -> None:
        self.time = answered_at(headers)


async def _pages(
    predictions: Predictions, after: datetime, before: datetime
) -> AsyncGenerator[ListedPage]:
    written_at = _WrittenAt()
    query = ListPredictions(created_after=after, created_before=before)
    async for page in predictions.listing(query, written_at).pages():
        yield ListedPage([_listed(item) for item in page.results], written_at.time)


def _listed(item: Raw) -> Listed:
    found, shown = decode(item, Prediction), glance(item)
    if found is None or shown is None:
        raise DecodeError("the list of predictions shows one that cannot be read")
    return Listed(found, shown.whole)


class _Rows:
    """The rows of a data frame, as many as it has."""

    def __init__(self, frame: object) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return frames.length(self._frame)

    def __iter__(self) -> Iterator[dict[str, object]]:
        return frames.rows(self._frame)


def _rows(inputs: object) -> object:
    # Only its rows are inputs; as an iterable, a data frame gives its columns.
    return _Rows(inputs) if frames.is_dataframe(inputs) else inputs


def _check(options: BatchOptions) -> None:
    check_choice("match", options.match, get_args(Match))
    if options.match == "key" and options.key is None:
        raise InvalidArgumentError('match="key" needs key=, which names each input.')
    check_choice("on_error", options.on_error, get_args(OnError))
    check_count("concurrency", options.concurrency, 1, 100_000)
    check_count("retries", options.retries, 0, 100)
    check_count("max_predictions", options.max_predictions, 0, 10**9)
    seconds = cast("object", options.max_seconds)
    if seconds is not None and not (isinstance(seconds, int | float) and seconds >= 0):
        raise InvalidArgumentError(
            f"max_seconds={shorten(seconds)} must be a number of seconds, 0 or more."
        )
    key = cast("object", options.key)
    if key is not None and not callable(key) and not (isinstance(key, str) and key):
        raise InvalidArgumentError(
            f"key={shorten(key)} must name a field of the inputs, or be a function of an input."
        )
    if options.on_progress is not None and not callable(options.on_progress):
        raise InvalidArgumentError(
            f"on_progress={shorten(options.on_progress)} must be a function of a BatchProgress."
        )


def _path(argument: str, value: object) -> str:
    shown = shorten(value)
    path = os.fspath(cast("str", value)) if isinstance(value, str | os.PathLike) else ""
    if not path:
        raise InvalidArgumentError(f"{argument}={shown} must be a path.")
    return path


def _digest(*options: object) -> str:
    """Return what stands for the options of a create in the journal, empty for none."""
    if all(option is None for option in options):
        return ""
    return hashlib.sha256(msgspec.json.encode(options)).hexdigest()[:16]


async def _schema(models: Models, ref: VersionRef) -> Mapping[str, Any] | None:
    if ref.model is None:
        return None
    try:
        if ref.version is not None:
            return (await models.versions.get(str(ref.model), ref.version)).openapi_schema
        latest = (await models.get(str(ref.model))).latest_version
    except NotFoundError:
        if ref.version is not None:  # official models may hide their versions
            return None
        raise
    return None if latest is None else latest.openapi_schema
