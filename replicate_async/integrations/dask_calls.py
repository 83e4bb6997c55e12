"""Calls of functions on the workers of a Dask cluster, repeated when the cluster loses them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from replicate_async.core.backoff import backoff
from replicate_async.core.token import Token
from replicate_async.errors import InvalidArgumentError, ReplicateError
from replicate_async.integrations.dask_worker import dump, run_prepare
from replicate_async.resources._dataframe import is_dataframe, rows

if TYPE_CHECKING:
    from distributed import Client, Future

ATTEMPTS: Final = 10
"""Times that one call is submitted, when a scheduler restarts or workers stop answering. Dask
itself repeats the tasks of a worker that is gone (``distributed.scheduler.allowed-failures``)."""
SILENT_AFTER: Final = 10.0
"""Seconds without a heartbeat after which the calls of a worker are repeated on others."""
LOST_AFTER: Final = 60.0
"""Seconds without an answer of the scheduler after which the batch ends."""
_LOOK_EVERY: Final = 3.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


class WorkerCalls:
    """Calls of functions on the workers of one cluster.

    A call is submitted again when the scheduler is restarted, and when its worker sends no
    heartbeats: then the first one is left where it is. `error` is set when the cluster is lost.
    """

    def __init__(
        self,
        dask: Client,
        token: Token,
        *,
        workers: str | Iterable[str] | None,
        resources: Mapping[str, float] | None,
        on_lost: Callable[[], None],
    ) -> None:
        self._dask: Any = dask  # most of its methods have no types
        self._token = token
        self._where = {"workers": workers, "resources": dict(resources) if resources else None}
        self._on_lost = on_lost
        self.error: ReplicateError | None = None
        """Why no more calls are possible."""
        self._run = uuid4().hex[:8]
        self._numbers = count()
        self._calls: dict[str, asyncio.Future[None]] = {}
        """The calls that wait, by the key of their task; each is completed to give the task up."""
        self._finished: set[str] = set()
        """The tasks that had ended, while a worker was silent, when the scheduler was asked."""
        self._left: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.Task[None] | None = None

    def sendable(self, value: object, name: str) -> bytes:
        """Return *value* as it travels to a worker; raises `InvalidArgumentError` if it may not."""
        try:
            data = dump(value)
        except Exception as error:  # noqa: BLE001 - of any kind that a value raises
            said = self._token.redact(f"{type(error).__name__}: {error}")
            raise InvalidArgumentError(f"{name} cannot be sent to a worker: {said}") from None
        if not self._token.is_in(data):
            return data
        del data, value  # tracebacks may be printed with their locals
        raise InvalidArgumentError(
            f"{name} holds the API token, which does not travel: set REPLICATE_API_TOKEN in the "
            "environment of the workers, and leave the token out of functions, their closures and "
            "globals, and out of rows."
        )

    def submit(self, name: str, function: Callable[..., object], *arguments: object) -> Future[Any]:
        """Submit a call as a task whose key begins with *name*."""
        key = f"{name}-{self._run}-{next(self._numbers)}"
        # Results that wait are finished before more inputs are prepared.
        priority = 0 if function is run_prepare else 1
        future: Future[Any] = self._dask.submit(
            function, *arguments, key=key, pure=False, priority=priority, **self._where
        )
        return future

    async def run(
        self,
        name: str,
        function: Callable[..., object],
        *arguments: object,
        gather: bool = True,
    ) -> Any:
        """Submit a call and return what it returns, or the future of that; raises what it raises.

        Raises `ReplicateError` when the cluster is lost, or has lost the call `ATTEMPTS` times.
        """
        submit = partial(self.submit, name, function, *arguments)
        return await self._repeat(name, submit, gather=gather)

    async def rows(self, collection: Any) -> AsyncIterator[object]:
        """Yield the rows of a Dask bag or dataframe, whose partitions are read on the workers.

        At most two partitions are here: one whose rows are taken, and the next.
        """
        reads = deque[asyncio.Task[Any]]()
        try:
            for part in collection.to_delayed():
                submit = partial(self._dask.compute, part)
                reads.append(asyncio.create_task(self._repeat("partition", submit)))
                if len(reads) > 1:
                    for row in _rows_of(await reads.popleft()):
                        yield row
            for row in _rows_of(await reads.popleft()) if reads else ():
                yield row
        finally:
            for read in reads:
                read.cancel()

    async def _repeat(
        self, name: str, submit: Callable[[], Future[Any]], *, gather: bool = True
    ) -> Any:
        lost: BaseException | None = None
        for attempt in range(ATTEMPTS):
            if attempt:  # a cluster that loses workers cancels tasks for a while, each at once
                await asyncio.sleep(backoff(attempt, base=_FIRST_PAUSE, cap=_LONGEST_PAUSE))
            await self._connected()
            future = submit()
            getting = asyncio.create_task(_outcome(future, gather=gather))
            try:
                await self._wait(str(future.key), getting)
            except BaseException:  # cancelled, or the cluster is lost
                getting.cancel()
                raise
            if getting.cancelled():
                continue
            if not getting.done():
                self._give_up(getting, future)
            elif (lost := getting.exception()) is None:
                return getting.result()
            elif future.status == "error":
                raise lost
        raise ReplicateError(
            f"Dask has lost {name!r} {ATTEMPTS} times; see the logs of its scheduler and workers."
        ) from lost

    async def _wait(self, key: str, getting: asyncio.Task[Any]) -> None:
        """Wait for the end of a call, or until it is to be given up."""
        given_up = self._calls[key] = asyncio.get_running_loop().create_future()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({getting, given_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._calls[key]
            if not self._calls:
                watching, self._watching = self._watching, None
                watching.cancel()
        if given_up.done():
            given_up.result()

    def _give_up(self, getting: asyncio.Task[Any], future: Future[Any]) -> None:
        if future.status != "pending":
            # Dask gathers it together with others, which are then cancelled and repeated as well.
            getting.cancel()
            return
        # Its task keeps its place in the worker, so that no other call gets there.
        self._left.add(getting)
        getting.add_done_callback(self._forget)

    def _forget(self, left: asyncio.Task[Any]) -> None:
        self._left.discard(left)
        if not left.cancelled():
            left.exception()  # it was repeated

    def close(self) -> None:
        """Let go of the tasks that were given up."""
        for left in self._left:
            left.cancel()

    # What the scheduler knows.

    async def _connected(self) -> None:
        """Wait until the Dask client has its scheduler."""
        ends = asyncio.get_running_loop().time() + LOST_AFTER
        while self.error is None and self._dask.status != "running":
            if self._dask.status == "closed" or asyncio.get_running_loop().time() > ends:
                self._lose()
            else:
                await asyncio.sleep(0.3)
        if self.error is not None:
            raise self.error

    async def _watch(self) -> None:
        """Give up the calls of workers that are silent, and all of them without a scheduler."""
        clock = asyncio.get_running_loop().time
        heard = clock()
        while clock() - heard < LOST_AFTER and self._dask.status != "closed":
            await asyncio.sleep(_LOOK_EVERY)
            try:
                async with asyncio.timeout(_LOOK_EVERY):
                    stuck = await self._stuck()
            except Exception:  # noqa: BLE001, S112 - of any kind, as while it restarts
                continue
            heard = clock()
            for key in stuck & self._calls.keys():
                if not self._calls[key].done():
                    self._calls[key].set_result(None)
        self._lose()

    async def _stuck(self) -> set[str]:
        """Return the tasks of silent workers.

        Those are running, or have results that Dask has not gathered for `_LOOK_EVERY` seconds.
        """
        if self._dask.scheduler_comm.closed():
            raise ConnectionError
        scheduler = self._dask.scheduler
        workers: dict[str, Any] = (await scheduler.identity(n_workers=-1))["workers"]
        seen = {address: worker["last_seen"] for address, worker in workers.items()}
        # The newest heartbeat is the scheduler's time.
        newest = max(seen.values(), default=0.0)
        silent = [address for address, last in seen.items() if last < newest - SILENT_AFTER]
        if not silent:
            return set()
        running: dict[str, list[str]] = await scheduler.processing(workers=silent)
        holders: dict[str, list[str]] = await scheduler.who_has(keys=list(self._calls))
        before, self._finished = self._finished, {key for key, held in holders.items() if held}
        return {key for keys in running.values() for key in keys} | (before & self._finished)

    def _lose(self) -> None:
        self.error = ReplicateError(
            f"The Dask scheduler has not answered for {LOST_AFTER:g} seconds, or its client is "
            "closed. Predictions that run are awaited. Run the same batch with the same journal, "
            "on a cluster that runs, to resume: nothing is created twice."
        )
        for given_up in self._calls.values():
            if not given_up.done():
                given_up.set_exception(self.error)
        self._on_lost()


def _rows_of(part: Any) -> Iterable[object]:
    return rows(part) if is_dataframe(part) else part


async def _outcome(future: Any, *, gather: bool) -> Any:
    """Wait for the end of a task; return its value, or else the future itself."""
    if gather:
        return await future
    await future.exception()
    return future if future.status == "finished" else await future
