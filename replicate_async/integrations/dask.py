"""A batch spread over the workers of a Dask cluster.

    async with distributed.Client(address, asynchronous=True) as dask:
        async with spread(dask, "owner/name", inputs, journals="/shared/run-7") as results:
            async for result in results:
                ...

Needs the extra: ``pip install 'replicate-async[dask]'``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, Unpack
from uuid import uuid4

import msgspec

from replicate_async.client import Replicate
from replicate_async.core.limits import BucketName, Limits
from replicate_async.errors import ClientStateError, InvalidArgumentError
from replicate_async.integrations.pace import Pacemaker, SharedLimiter
from replicate_async.integrations.shards import Connect, ShardOptions, run_shard
from replicate_async.runs.batch.batch import Batch
from replicate_async.runs.batch.results import BatchProgress, BatchResult, ItemInput

try:
    import distributed
except ImportError as _missing:
    raise ImportError("This needs Dask: pip install 'replicate-async[dask]'.") from _missing

if TYPE_CHECKING:
    from distributed import Client

_SHARD: Final = 250
_AHEAD: Final = 2
"""Shards that are with the cluster, for each of its threads: one that runs, one that is next."""
_REPORT_EVERY: Final = 1.0

# The batches of this process, which is a worker, by run: what stopping has to find.
_RUNNING: Final[dict[str, set[Batch[Any]]]] = {}
_STOPPED: Final[set[str]] = set()


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a batch, as it travels to a worker."""

    run: str
    number: int
    start: int
    ref: str
    inputs: list[ItemInput]
    journal: str


def spread(
    dask: Client,
    ref: str,
    inputs: Iterable[ItemInput],
    *,
    journals: str | Path,
    shard_size: int = _SHARD,
    limits: Limits | None = None,
    connect: Connect = Replicate,
    on_progress: Callable[[BatchProgress], object] | None = None,
    **options: Unpack[ShardOptions],
) -> Spread:
    """Run a model over many inputs on the workers of a cluster; use it with ``async with``.

    The inputs are dealt out in shards of *shard_size*, each with a journal in the folder
    *journals*, which all workers must see. Where a worker is lost, another goes on with its shard;
    run again with the same folder and inputs, the whole goes on: nothing is created twice. The
    workers keep one pace together, that of *limits*. *connect* makes a worker's client, by default
    with the token of its environment. *on_progress* is called about once a second with the sum of
    all workers; the other *options* are those of ``client.batch``.

    Leaving early stops all workers and cancels the predictions that run. Raises
    `InvalidArgumentError` for a client that is not asynchronous.
    """
    if not dask.asynchronous:
        raise InvalidArgumentError(
            "The Dask client is not asynchronous; make it with 'await Client(..., "
            "asynchronous=True)'."
        )
    if shard_size < 1:
        raise InvalidArgumentError(f"shard_size={shard_size} must be 1 or more.")
    return Spread(
        dask,
        ref,
        inputs,
        journals=Path(journals),
        shard_size=shard_size,
        limits=limits or Limits(),
        connect=connect,
        on_progress=on_progress,
        options=options,
    )


class Spread:
    """The results of a batch that runs on a cluster, as its shards end; made by `spread`."""

    def __init__(
        self,
        dask: Client,
        ref: str,
        inputs: Iterable[ItemInput],
        *,
        journals: Path,
        shard_size: int,
        limits: Limits,
        connect: Connect,
        on_progress: Callable[[BatchProgress], object] | None,
        options: ShardOptions,
    ) -> None:
        self._dask: Any = dask  # most of its methods have no types
        self._ref = ref
        self._inputs = iter(inputs)
        self._journals = journals
        self._size = shard_size
        self._limits = limits
        self._connect = connect
        self._on_progress = on_progress
        self._options = options
        self._run = uuid4().hex
        self._pacemaker: _Actor | None = None
        self._engaging = asyncio.Lock()
        self._processes = 1
        self._window = 1
        self._under_way: set[asyncio.Task[list[BatchResult[Any]]]] = set()
        self._futures: set[Any] = set()
        self._ready: list[BatchResult[Any]] = []
        self._progress: dict[int, BatchProgress] = {}
        self._dealt = 0
        self._begun = False

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._journals.mkdir, parents=True, exist_ok=True)
        await self._dask.wait_for_workers(1)
        threads: dict[str, int] = await self._dask.nthreads()
        self._processes = len(threads)
        self._window = _AHEAD * sum(threads.values())
        await self._engage(None)
        if self._on_progress is not None:
            self._dask.subscribe_topic(self._topic, self._heard)
        self._begun = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult[Any]:
        if not self._begun:
            raise ClientStateError("The batch has not begun; write 'async with spread(...)'.")
        while not self._ready:
            while len(self._under_way) < self._window and (part := self._next_inputs()):
                self._deal(part)
            if not self._under_way:
                raise StopAsyncIteration
            done, self._under_way = await asyncio.wait(
                self._under_way, return_when=asyncio.FIRST_COMPLETED
            )
            for ended in done:
                self._ready += ended.result()
        return self._ready.pop()

    async def aclose(self) -> None:
        """Stop all workers, cancel what runs, and wait for that."""
        if not self._begun:
            return
        self._begun = False
        try:
            if self._under_way:
                # Cancelling a future does not reach a coroutine that a worker has begun.
                for future in self._futures:
                    await future.cancel()
                await self._dask.run(_stop, self._run)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            self._pacemaker = None
            if self._on_progress is not None:
                self._dask.unsubscribe_topic(self._topic)

    @property
    def _topic(self) -> str:
        return f"replicate-{self._run}"

    def _next_inputs(self) -> list[ItemInput]:
        return list(islice(self._inputs, self._size))

    def _deal(self, inputs: list[ItemInput]) -> None:
        number = self._dealt // self._size
        shard = Shard(
            run=self._run,
            number=number,
            start=self._dealt,
            ref=self._ref,
            inputs=inputs,
            journal=str(self._journals / f"shard-{number:06}.db"),
        )
        self._dealt += len(inputs)
        self._under_way.add(asyncio.create_task(self._send(shard)))

    async def _engage(self, lost: object) -> None:
        """Have a worker keep the pace, unless another has taken over from the *lost* one."""
        async with self._engaging:
            if self._pacemaker is lost:
                actor: Any = await self._dask.submit(
                    Pacemaker, self._limits, actor=True, key=f"pace-{uuid4().hex}"
                )
                self._pacemaker = _Actor(actor)

    async def _send(self, shard: Shard) -> list[BatchResult[Any]]:
        pacemaker = self._pacemaker
        assert pacemaker is not None  # noqa: S101 - it is engaged at the beginning
        future = self._dask.submit(
            _work,
            shard,
            pacemaker,
            limits=self._limits,
            processes=self._processes,
            connect=self._connect,
            options=self._options,
            topic=self._topic if self._on_progress is not None else None,
            key=f"shard-{shard.number}-{self._run}",
        )
        self._futures.add(future)
        try:
            ended: tuple[list[BatchResult[Any]], bool] = await future
        finally:
            self._futures.discard(future)
        results, lost = ended
        if lost:
            await self._engage(pacemaker)
        return results

    def _heard(self, event: tuple[Any, dict[str, Any]]) -> None:
        message = event[1]
        progress = msgspec.convert(message["progress"], BatchProgress)
        self._progress[message["shard"]] = progress
        if self._on_progress is not None:
            self._on_progress(_sum(list(self._progress.values())))


async def _work(
    shard: Shard,
    pacemaker: _Actor,
    *,
    limits: Limits,
    processes: int,
    connect: Connect,
    options: ShardOptions,
    topic: str | None,
) -> tuple[list[BatchResult[Any]], bool]:
    """Run *shard* in a worker; return its results, and whether the pacemaker was lost."""
    running = _RUNNING.setdefault(shard.run, set())
    batches: list[Batch[Any]] = []

    def began(batch: Batch[Any]) -> None:
        if shard.run in _STOPPED:
            raise ClientStateError("The batch was stopped before this shard of it began.")
        batches.append(batch)
        running.add(batch)

    limiter = SharedLimiter(pacemaker, limits=limits, processes=processes)
    try:
        results = await run_shard(
            shard.ref,
            shard.inputs,
            journal=shard.journal,
            connect=connect,
            limiter=limiter,
            start=shard.start,
            began=began,
            on_progress=None if topic is None else _reporter(topic, shard.number),
            **options,
        )
    finally:
        running.difference_update(batches)
    return results, limiter.lost


async def _stop(run: str) -> None:
    """Stop the batches of *run* in this worker."""
    _STOPPED.add(run)
    for batch in list(_RUNNING.pop(run, ())):
        await batch.aclose()


class _Actor:
    """A pacemaker that is a Dask actor.

    Hidden from Dask in here, which would otherwise make every shard depend on it, and fail those
    whose actor's worker is lost.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def take(self, kind: BucketName, number: int) -> list[float]:
        waits: list[float] = await self._actor.take(kind, number)
        return waits

    async def throttled(self, kind: BucketName, seconds: float, per_minute: float | None) -> None:
        await self._actor.throttled(kind, seconds, per_minute)


def _reporter(topic: str, shard: int) -> Callable[[BatchProgress], object]:
    loop = asyncio.get_running_loop()
    worker = distributed.get_worker()
    reported = loop.time() - _REPORT_EVERY

    def report(progress: BatchProgress) -> None:
        nonlocal reported
        over = progress.done == progress.total
        if over or loop.time() - reported >= _REPORT_EVERY:
            reported = loop.time()
            message = {"shard": shard, "progress": msgspec.to_builtins(progress)}
            worker.log_event(topic, message)

    return report


def _sum(parts: Sequence[BatchProgress]) -> BatchProgress:
    """Return what *parts* come to; of how much is not known, nor the end."""

    def total(name: str) -> Any:
        return sum(getattr(part, name) for part in parts)

    return BatchProgress(
        total=None,
        ok=total("ok"),
        failed=total("failed"),
        uncertain=total("uncertain"),
        resumed=total("resumed"),
        running=total("running"),
        reconciling=total("reconciling"),
        created=total("created"),
        predict_seconds=total("predict_seconds"),
        seconds=max(part.seconds for part in parts),
        rate=sum(part.rate for part in parts if part.total is None or part.done < part.total),
        eta=None,
    )
