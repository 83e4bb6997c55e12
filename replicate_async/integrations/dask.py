"""A batch whose inputs are prepared, and whose results are finished, on the workers of Dask.

    async with distributed.Client(address, asynchronous=True), Replicate() as client:
        batch = run_on_dask(
            client, "owner/name", rows, prepare=prepare, finish=finish, journal="run.db"
        )
        async with batch:
            async for result in batch:
                print(result.key, result.value)

Needs the extra: ``pip install 'replicate-async[dask]'``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import (
    AsyncIterable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypedDict, Unpack, cast

import msgspec

from replicate_async.client import Replicate
from replicate_async.context import context_of
from replicate_async.core.poll import Poll
from replicate_async.errors import ClientStateError, InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.resources._options import Deadline
from replicate_async.runs.batch.batch import Batch
from replicate_async.runs.batch.keys import Key, Match
from replicate_async.runs.batch.options import BatchTimeouts, OnError
from replicate_async.runs.batch.results import BatchProgress, BatchResult, BatchSummary, ItemInput
from replicate_async.runs.streaming.stream import OnExit
from replicate_async.schemas import WebhookEvent

try:
    import distributed
    from dask.base import is_dask_collection  # pyright: ignore[reportUnknownVariableType] - untyped
except ImportError as _missing:
    raise ImportError("This needs Dask: pip install 'replicate-async[dask]'.") from _missing

from replicate_async.integrations.dask_calls import WorkerCalls
from replicate_async.integrations.dask_worker import load, run_finish, run_finish_there, run_prepare

if TYPE_CHECKING:
    from distributed import Client
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["DaskBatch", "run_on_dask"]

R = TypeVar("R")


class BatchArguments(TypedDict, total=False):
    """The options of ``client.batch``, which describes them."""

    concurrency: int | None
    ordered: bool
    journal: str | os.PathLike[str] | None
    key: Key
    match: Match
    on_error: OnError
    on_exit: OnExit
    retries: int
    retry_failed: bool
    save_files: str | os.PathLike[str] | None
    max_seconds: float | None
    max_predictions: int | None
    max_cost: float | None
    dry_run: bool
    on_progress: Callable[[BatchProgress], object] | None
    cancel_after: Deadline
    webhook: str | None
    webhook_events_filter: Sequence[WebhookEvent] | None
    file_encoding: FileEncoding
    timeout: float | None
    queue_timeout: float | None
    poll: Poll | None
    batch_timeouts: BatchTimeouts | None


def run_on_dask(
    client: Replicate,
    model: str,
    inputs: Iterable[ItemInput] | AsyncIterable[ItemInput] | object,
    *,
    type: type[T] | None = None,
    prepare: Callable[[Any], object] | None = None,
    finish: Callable[[BatchResult[T]], object] | None = None,
    dask: Client | None = None,
    gather: bool = True,
    workers: str | Iterable[str] | None = None,
    resources: Mapping[str, float] | None = None,
    **options: Unpack[BatchArguments],
) -> DaskBatch[T]:
    """Return a batch that runs *prepare* and *finish* on the workers of a Dask cluster.

    This process has the journal and the pace, creates all predictions and waits for them, as
    ``client.batch`` does. A lost worker costs a *prepare* or *finish* that runs again, and a run
    with the same journal goes on after a lost driver: nothing is created twice.

    The workers take the token from ``REPLICATE_API_TOKEN`` of their own environment, and the base
    URL from ``REPLICATE_BASE_URL``. They need them for files only.

    Args:
        client: The client that creates the predictions.
        model: "owner/name", "owner/name:version" or a version id.
        inputs: As in ``client.batch``, or a Dask bag or dataframe: its partitions are read on the
            workers, and their rows come here, at most two partitions at a time.
        type: Decode the outputs as this type; see ``client.run``.
        prepare: A function or async function that makes the input of a row, on a worker. Files in
            the input (paths, bytes, images) are uploaded from there.
        finish: A function or async function of a `BatchResult`, on a worker, which downloads its
            files there. What it returns is the ``value`` of the result. It runs at least once.
        dask: The Dask client; by default the current one, ``distributed.get_client()``.
        gather: Whether values of *finish* are brought here. With False they stay on the workers,
            and ``value`` is a Dask future; a resume runs *finish* again for these.
        workers: Addresses or names of workers that may run *prepare* and *finish*; all by default.
        resources: What one call of *prepare* or *finish* takes of a worker, such as ``{"GPU": 1}``.
        **options: All options of ``client.batch``.

    Raises:
        InvalidArgumentError: An argument is wrong, there is no Dask client, or a function holds the
            API token, which does not travel.
        ReplicateError: While iterating: the scheduler is lost for 60 seconds, or the ``timeout``
            of the Dask client, 30 seconds by default.
    """
    if dask is None:
        dask = _current_client()
    if not dask.asynchronous and options.get("journal") is not None:
        options.setdefault("on_exit", "continue")
    for argument, function in (("prepare", prepare), ("finish", finish)):
        if function is not None and not callable(function):
            raise InvalidArgumentError(f"{argument}={function!r} must be a function.")
    calls = WorkerCalls(
        dask,
        context_of(client).sender.token,
        workers=workers,
        resources=resources,
        on_lost=lambda: batch.stop(drain=True),
    )
    prepare_code = b"" if prepare is None else calls.sendable(prepare, "prepare")
    finish_code = b"" if finish is None else calls.sendable(finish, "finish")

    def prepare_there(row: ItemInput) -> Coroutine[Any, Any, ItemInput]:
        item = asyncio.current_task()
        name = "prepare" if item is None else f"prepare-{item.get_name()}"
        encoding = options.get("file_encoding", "auto")
        return calls.run(name, run_prepare, prepare_code, calls.sendable(row, "the row"), encoding)

    def finishing(result: BatchResult[T]) -> tuple[Any, ...]:
        sent = calls.sendable(result, "the result")
        call = run_finish if gather else run_finish_there
        return f"finish-{result.key}", call, finish_code, sent

    async def finish_there(result: BatchResult[T]) -> object:
        value = await calls.run(*finishing(result), gather=gather)
        return load(value, lambda: client) if gather else value

    batch: Batch[T] = client.batch(
        model,
        calls.rows(inputs) if is_dask_collection(inputs) else inputs,
        type=type,
        prepare=None if prepare is None else _named(prepare_there, prepare),
        finish=None if finish is None else _named(finish_there, finish),
        **options,
    )
    return DaskBatch(
        batch,
        dask,
        calls,
        None if gather or finish is None else lambda result: calls.submit(*finishing(result)),
    )


class DaskBatch(Generic[T]):
    """A batch with functions on the workers of Dask; made by `run_on_dask`.

    With an asynchronous Dask client, iterate over it with ``async for``, as over a `Batch`. With a
    blocking one, iterate with ``for``: the batch runs in the event loop of the Dask client. Then
    SIGTERM ends the loop with `SystemExit`, unless the program handles it. If there is a journal,
    leaving a ``for`` loop leaves predictions running, for the next run to resume, unless
    ``on_exit="cancel"``.
    """

    def __init__(
        self,
        batch: Batch[T],
        dask: Client,
        calls: WorkerCalls,
        finish_again: Callable[[BatchResult[T]], object] | None,
    ) -> None:
        self._batch = batch
        self._dask = dask
        self._calls = calls
        self._finish_again = finish_again

    def __aiter__(self) -> Self:
        if not self._dask.asynchronous:
            raise ClientStateError(
                "The Dask client blocks: iterate with 'for', or make it with 'await Client(..., "
                "asynchronous=True)' in this event loop."
            )
        return self

    async def __anext__(self) -> BatchResult[T]:
        result = await self._next()
        if result is None:
            raise StopAsyncIteration
        return result

    async def __aenter__(self) -> Self:
        aiter(self)  # checks the Dask client
        await self._batch.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __iter__(self) -> Iterator[BatchResult[T]]:
        if self._dask.asynchronous:
            raise ClientStateError(
                "The Dask client is asynchronous: iterate with 'async for', or make a blocking one "
                "with Client(...)."
            )
        if self._dask.status == "closed":
            raise ClientStateError("The Dask client is closed; make a new one.")
        return self._results()

    def _results(self) -> Generator[BatchResult[T]]:
        with _sigterm_exits():
            try:
                while (result := self._wait_for(self._next())) is not None:
                    yield result
            finally:
                self._wait_for(self.aclose())

    def _wait_for(self, call: Coroutine[Any, Any, R]) -> R:
        """Run *call* in the event loop of the Dask client."""
        loop: asyncio.AbstractEventLoop = cast("Any", self._dask).loop.asyncio_loop
        return asyncio.run_coroutine_threadsafe(call, loop).result()

    async def _next(self) -> BatchResult[T] | None:
        async for result in self._batch:
            if self._finish_again is not None and result.ok and result.value is None:
                return msgspec.structs.replace(result, value=self._finish_again(result))
            return result
        self._calls.close()
        if self._calls.error is not None:
            raise self._calls.error
        return None

    async def aclose(self) -> None:
        """End the batch as leaving it does, within 20 seconds; see `Batch.aclose`."""
        self._calls.close()
        await self._batch.aclose()

    def stop(self, *, drain: bool = True) -> None:
        """Create nothing more; the loop over the batch then ends.

        Args:
            drain: Whether predictions that run are awaited; otherwise they are canceled or not, as
                *on_exit* says.
        """
        stop = partial(self._batch.stop, drain=drain)
        if self._dask.asynchronous:
            stop()
        else:
            cast("Any", self._dask).loop.add_callback(stop)

    @property
    def summary(self) -> BatchSummary:
        """The summary so far."""
        return self._batch.summary

    @property
    def progress(self) -> BatchProgress:
        """The progress so far."""
        return self._batch.progress

    @property
    def how_to_resume(self) -> str:
        """A sentence that says how to resume the batch."""
        return self._batch.how_to_resume

    def __repr__(self) -> str:
        return f"<DaskBatch of {self._batch!r}>"


def _current_client() -> Client:
    try:
        return distributed.get_client()  # pyright: ignore[reportUnknownMemberType] - untyped
    except ValueError:
        raise InvalidArgumentError(
            "There is no Dask client; make one with Client(...), or pass it as dask=."
        ) from None


def _named(made: R, function: Callable[..., object]) -> R:
    """Give *made* the name of *function*, which the errors of items show."""
    for name in ("__name__", "__qualname__"):
        setattr(made, name, getattr(function, name, type(function).__name__))
    return made


@contextmanager
def _sigterm_exits() -> Generator[None]:
    """Let SIGTERM raise `SystemExit`, so that the batch ends in order; a handler stays."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
