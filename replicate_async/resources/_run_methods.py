"""The methods of a client that run models: `RunMethods`, a base class of `Replicate`.

They have a module of their own because their signatures and docstrings are longer than the rest of
the client. Each has a signature for typed models, which share the other arguments, and one for
names with every argument and its default, which is what an editor shows.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

from replicate_async.arguments import check_flags
from replicate_async.core.poll import Poll
from replicate_async.files.inputs import FileEncoding
from replicate_async.resources._options import Deadline, Wait
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._prepared_input import Input
from replicate_async.resources._running import check_type, output_type_of, run_prediction
from replicate_async.resources._target import target_of
from replicate_async.runs.repeats import check_retries
from replicate_async.runs.run import cancel_after_hint, sync_wait_hint, sync_wait_within
from replicate_async.runs.waiting.wait_options import (
    PREDICTION_QUEUE_TIMEOUT,
    PREDICTION_TIMEOUT,
    OnUpdate,
    WaitOptions,
)
from replicate_async.schemas import Prediction, WebhookEvent
from replicate_async.typed import TypedModel

if TYPE_CHECKING:
    import os

    from typing_extensions import TypeVar, Unpack

    from replicate_async.resources._arguments import (
        BatchArguments,
        RunArguments,
        StreamArguments,
    )
    from replicate_async.runs.batch.batch import Batch
    from replicate_async.runs.batch.keys import Key, Match
    from replicate_async.runs.batch.options import BatchTimeouts, OnError
    from replicate_async.runs.batch.results import BatchProgress, BatchResult, ItemInput
    from replicate_async.runs.streaming.stream import OnExit, Stream

    InputT = TypeVar("InputT")
    OutputT = TypeVar("OutputT")
    RowT = TypeVar("RowT")
    T = TypeVar("T", default=Any)
    Row = TypeVar("Row", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")  # the default is for type checkers: `run` without a type returns Any
    Row = TypeVar("Row")


class RunMethods:
    """Runs models: once, as a stream, over many inputs."""

    def __init__(self, calls: PredictionCalls) -> None:
        self._calls: PredictionCalls = calls

    @overload
    async def run(
        self,
        model: TypedModel[InputT, OutputT],
        input: InputT,
        **options: Unpack[RunArguments],
    ) -> OutputT: ...

    @overload
    async def run(
        self,
        model: str,
        input: Input | None = None,
        *,
        type: type[T] | None = None,
        files: bool = True,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        delete_uploads: bool = False,
        retries: int = 0,
        timeout: float | None = 35 * 60,
        queue_timeout: float | None = 60 * 60,
        poll: Poll | None = None,
        on_update: OnUpdate[Prediction] | None = None,
    ) -> T: ...

    async def run(
        self,
        model: str | TypedModel[Any, Any],
        input: Any = None,
        *,
        type: type[Any] | None = None,
        files: bool = True,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        delete_uploads: bool = False,
        retries: int = 0,
        timeout: float | None = PREDICTION_TIMEOUT,
        queue_timeout: float | None = PREDICTION_QUEUE_TIMEOUT,
        poll: Poll | None = None,
        on_update: OnUpdate[Prediction] | None = None,
    ) -> Any:
        """Run a model to its end and return its output.

        When the task is cancelled, the prediction is cancelled too.

        Example::

            text = await client.run("owner/name", {"prompt": "Hi"}, type=str)
            image = await client.run("owner/painter", {"prompt": "A cat"})
            await image.save("cat.png")

        Args:
            model: "owner/name", "owner/name:version", a version id, or a `TypedModel`, which checks
                the input and has a type of its own.
            input: A mapping or a msgspec Struct, files included; see ``predictions.create``.
            type: Decode the output as this type, such as ``str`` or ``list[FileOutput]``. ``str``
                joins a list of chunks where the model's schema says that it is one text or, where
                no schema was looked up, where no item is a URL.
            files: Without a *type*: whether files in the output are `FileOutput` or URLs.
            wait: Seconds for which the API holds its answer to the create, 1 to 60; True for 60.
                By default, runs of a model whose last runs took at most 3 seconds are held; False
                holds none.
            cancel_after: When the API cancels the prediction, 5 seconds to 24 hours: seconds, a
                timedelta or "1h30m". By default, the deadline of the anyio cancel scopes around the
                call; ``asyncio.timeout`` deadlines are invisible here, and still cancel the run.
            webhook: An https URL that the API calls; see ``predictions.create``.
            webhook_events_filter: The events that it is called for.
            file_encoding: How files in the input are sent; see ``predictions.create``.
            delete_uploads: Whether to delete the uploads of the input when the run has ended; they
                expire after 24 hours otherwise.
            retries: How often a prediction is repeated that was aborted, or failed because of the
                service and not of the model; up to 100. Each repeat is a new prediction, which is
                paid for too, with the whole *timeout*, *queue_timeout* and *cancel_after*.
            timeout: Seconds of work, 35 minutes by default; None for no limit.
            queue_timeout: Seconds before the work begins, 60 minutes by default; None for no limit.
            poll: How often the API is asked; by default as runs of the model took before.
            on_update: A function or async function that is called with each created prediction and
                each change of it. An exception that it raises ends the run.

        Raises:
            PredictionFailed: The prediction failed (``.prediction``), and with *retries* each one
                before it (``.earlier``).
            PredictionCanceled: Something else canceled it.
            PredictionAborted: The API stopped it before it began.
            OutputRemovedError: It succeeded, and its output is removed already.
            WaitTimeout: *timeout* or *queue_timeout* is over; the prediction is cancelled.
            DecodeError: The output is not a *type* (``.prediction``).
            InvalidInputError: A typed model does not take the input; nothing was sent.
            APIStatusError: The create was refused, or every poll for 30 seconds (``.prediction``);
                then the prediction goes on.
            AmbiguousCreateError: The create may have happened; it is never sent twice.
        """
        if files is not True or delete_uploads is not False:
            check_flags(files=files, delete_uploads=delete_uploads)
        target = target_of(model)
        if target.contract is not None:
            type = output_type_of(target.contract, type, files=files)
        if type is not None:
            check_type(type)
        if retries.__class__ is not int or retries:
            check_retries(retries)
        options = WaitOptions(timeout, queue_timeout, poll, on_update)
        if wait is None and on_update is None:
            wait = sync_wait_hint(self._calls.context.tracker.durations, target.ref)
        request = PredictionRequest(
            self._calls.context,
            input=input,
            wait=sync_wait_within(wait, timeout, queue_timeout),
            cancel_after=cancel_after_hint() if cancel_after is None else cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
            contract=target.contract,
        )
        return await run_prediction(
            self._calls,
            target,
            request,
            options,
            type=type,
            files=files,
            delete_uploads=delete_uploads,
            retries=retries,
            renew=cancel_after is None,
        )

    @overload
    def stream(
        self,
        model: TypedModel[InputT, Any],
        input: InputT,
        **options: Unpack[StreamArguments],
    ) -> Stream: ...

    @overload
    def stream(
        self,
        model: str,
        input: Input | None = None,
        *,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        on_exit: OnExit = "cancel",
        poll: Poll | None = None,
    ) -> Stream: ...

    def stream(
        self,
        model: str | TypedModel[Any, Any],
        input: Any = None,
        *,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        on_exit: OnExit = "cancel",
        poll: Poll | None = None,
    ) -> Stream:
        """Run a model and return its output as it is made; use the stream with ``async with``.

        Example::

            async with client.stream("owner/name", {"prompt": "Hi"}) as stream:
                async for text in stream.text():
                    print(text, end="")

        Args:
            model: "owner/name", "owner/name:version", a version id or a `TypedModel`; see `run`.
            input: A mapping or a msgspec Struct, files included; see ``predictions.create``.
            cancel_after: When the API cancels the prediction, 5 seconds to 24 hours: seconds, a
                timedelta or "1h30m".
            webhook: An https URL that the API calls; see ``predictions.create``.
            webhook_events_filter: The events that it is called for.
            file_encoding: How files in the input are sent; see ``predictions.create``.
            on_exit: Whether leaving the block before the end cancels the prediction ("cancel") or
                not ("continue").
            poll: How often the API is asked about a model that cannot stream.

        Raises:
            InvalidArgumentError: An argument is wrong. `Stream` says what reading raises.
            InvalidInputError: A typed model does not take the input; nothing was sent.
        """
        target = target_of(model)
        request = PredictionRequest(
            self._calls.context,
            input=input,
            cancel_after=cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
            contract=target.contract,
        )
        return self._calls.stream(
            lambda: self._calls.create(target.ref, request),
            ref=target.ref,
            prepare=request.input.send,
            on_exit=on_exit,
            poll=poll,
        )

    @overload
    def batch(
        self,
        model: TypedModel[InputT, OutputT],
        inputs: Iterable[InputT] | AsyncIterable[InputT],
        **options: Unpack[BatchArguments[OutputT]],
    ) -> Batch[OutputT]: ...

    @overload
    def batch(
        self,
        model: TypedModel[InputT, OutputT],
        inputs: Iterable[RowT] | AsyncIterable[RowT] | object,
        *,
        prepare: Callable[[RowT], Awaitable[InputT]],
        **options: Unpack[BatchArguments[OutputT]],
    ) -> Batch[OutputT]: ...

    @overload
    def batch(
        self,
        model: str,
        inputs: Iterable[ItemInput] | AsyncIterable[ItemInput] | object,
        *,
        type: type[T] | None = None,
        prepare: Callable[[Row], Awaitable[ItemInput]] | None = None,
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
        max_cost: float | None = None,
        dry_run: bool = False,
        finish: Callable[[BatchResult[T]], Awaitable[object]] | None = None,
        on_progress: Callable[[BatchProgress], object] | None = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        timeout: float | None = None,
        queue_timeout: float | None = None,
        poll: Poll | None = None,
        batch_timeouts: BatchTimeouts | None = None,
    ) -> Batch[T]: ...

    def batch(
        self,
        model: str | TypedModel[Any, Any],
        inputs: object,
        *,
        type: type[Any] | None = None,
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
        max_cost: float | None = None,
        dry_run: bool = False,
        prepare: Callable[[Any], Awaitable[Any]] | None = None,
        finish: Callable[[BatchResult[Any]], Awaitable[object]] | None = None,
        on_progress: Callable[[BatchProgress], object] | None = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        timeout: float | None = None,
        queue_timeout: float | None = None,
        poll: Poll | None = None,
        batch_timeouts: BatchTimeouts | None = None,
    ) -> Batch[Any]:
        """Run a model over many inputs, each created once; iterate over the results.

        A create that may have happened is looked for in the list of predictions, and never
        repeated on a guess.

        Example::

            inputs = [{"prompt": word} for word in words]
            async with client.batch("owner/name", inputs, journal="run.db") as batch:
                results = [result async for result in batch]

        Args:
            model: "owner/name", "owner/name:version", a version id or a `TypedModel`; see `run`. An
                input that a typed model does not take is a failed item, which is never created.
            inputs: An iterable, an async iterable or a data frame, of any length. A few hundred
                inputs are read ahead. A slow iterator that is not async blocks the event loop. An
                exception of the iterator is raised after the results of the inputs before it.
            type: Decode the outputs as this type; see `run`.
            concurrency: The most predictions at a time, up to 100,000. By default as many as keep
                the pace of ``Limits(creates=...)``, at most 1,000.
            ordered: Give the results in the order of the inputs. An item may then be at most
                4 times *concurrency* items ahead of the slowest one.
            journal: A file that makes the batch resumable: a later run with the same file repeats
                nothing that is done, and waits for the predictions that exist.
            key: The field, or a function of an input, that names each input; by default the name is
                a digest of model and input. A field that the model's schema does not have is not
                sent; the schema is looked up before the first create.
            match: With "input", a key that the journal knows with other values is refused; with
                "key", the key alone identifies an item, and its values (signed URLs) may differ.
            on_error: Whether a failed item is a result with an ``error`` ("collect"), or its error
                is raised ("raise").
            on_exit: Whether leaving the batch before its end cancels the predictions that run
                ("cancel") or not ("continue").
            retries: How often a prediction is repeated that was aborted, or failed because of the
                service and not of the model; up to 100.
            retry_failed: Whether to run again the items that the journal has as failed.
            save_files: A folder for the files of the outputs. They are named after the key, with a
                digest of it where it is no plain lower-case name. Existing files stay.
            max_seconds: Create nothing after this many seconds; running predictions end.
            max_predictions: Create at most this many predictions.
            max_cost: Create nothing that may cost more than this in all, by the ``prices`` of the
                client; what the journal knows of earlier runs included. Predictions that run
                count at the highest cost seen so far; the first runs alone.
            dry_run: Create nothing: compare each input with the model's schema. The ``summary``
                says how many would be created. *prepare* and *finish* are not called, and inputs
                to be prepared are not compared.
            prepare: An async function that makes the input to send of the one that was given. It is
                called once before the creates of an item, at most *concurrency* calls at a time,
                and not for an item that was created. The item's key is that of the given input.
            finish: An async function of the `BatchResult` of each success. What it returns is the
                result's ``value``. With a journal it is called until it has returned once, so
                perhaps again by a resume; a value that is plain JSON is kept there.
            on_progress: A function that is called with a `BatchProgress`: at the end, and at most
                10 times a second before.
            cancel_after: When the API cancels a prediction, 5 seconds to 24 hours: seconds, a
                timedelta or "1h30m".
            webhook: An https URL that the API calls; see ``predictions.create``.
            webhook_events_filter: The events that it is called for.
            file_encoding: How files in the inputs are sent; see ``predictions.create``.
            timeout: Seconds of work for each prediction; no limit by default.
            queue_timeout: Seconds before the work begins; no limit by default.
            poll: How often the API is asked; by default as runs of the model took before.
            batch_timeouts: How long lost creates, outages and failures are waited for.

        Raises:
            InvalidArgumentError: An argument is wrong.
            APIStatusError: While iterating: an error that every item would meet, such as 401, 402
                or 403 of a create, 401 of every poll for 30 seconds, or an unknown model.
            JournalError: While iterating: the journal cannot be used.
        """
        from replicate_async.resources._batch import make_batch  # noqa: PLC0415 - brings SQLite
        from replicate_async.runs.batch.options import BatchOptions, BatchTimeouts  # noqa: PLC0415 - as above

        target = target_of(model)
        if target.contract is not None:
            type = output_type_of(target.contract, type)
        options = BatchOptions(
            ref=target.ref,
            type=type,
            concurrency=concurrency,
            ordered=ordered,
            journal=journal,
            key=key,
            match=match,
            on_error=on_error,
            on_exit=on_exit,
            retries=retries,
            retry_failed=retry_failed,
            save_files=save_files,
            max_seconds=max_seconds,
            max_predictions=max_predictions,
            max_cost=max_cost,
            dry_run=dry_run,
            prepare=prepare,
            finish=finish,
            on_progress=on_progress,
            cancel_after=cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
            timeout=timeout,
            queue_timeout=queue_timeout,
            poll=poll,
            timeouts=batch_timeouts or BatchTimeouts(),
        )
        return make_batch(self._calls, inputs, options, target.contract)

    async def resolve_batch_item(
        self,
        journal: str | os.PathLike[str],
        key: str,
        *,
        prediction: str | Prediction | None = None,
        absent: bool = False,
    ) -> None:
        """Record in a *journal* whether the create of an uncertain item happened.

        Look for the prediction on the website or with ``predictions.list``.

        Args:
            journal: The journal of the batch, which no batch uses meanwhile.
            key: The ``key`` of a result that is ``uncertain``.
            prediction: The prediction that was found; the next run of the batch waits for it.
            absent: True when there is none; the next run of the batch creates it.

        Raises:
            InvalidArgumentError: The item is unknown or not uncertain, or the *prediction* does not
                exist, or is that of another model or item.
            JournalLockedError: A batch uses the journal.
        """
        from replicate_async.resources._batch import resolve_item  # noqa: PLC0415 - brings SQLite

        await resolve_item(self._calls, journal, key, prediction=prediction, absent=absent)
