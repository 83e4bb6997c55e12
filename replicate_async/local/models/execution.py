"""One run of a function: in its own task or thread, one step at a time, with logs of its own."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, cast

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from replicate_async.local.models.backend import RunLog
from replicate_async.local.models.current_run import CURRENT, CurrentRun
from replicate_async.local.models.log_capture import captured
from replicate_async.local.models.signature import underlying
from replicate_async.local.models.thread import RunThread

GRACE: Final = 2.0
"""Seconds that a cancelled model has for its ``finally`` blocks, before it is left behind."""

_END: Final = object()
# A task that is left behind must not be collected while it still runs.
_left_behind: set[asyncio.Task[None]] = set()


async def execute(
    function: Callable[[], object], log: RunLog, *, iterates: bool, grace: float = GRACE
) -> AsyncGenerator[object]:
    """Run *function* and yield what it returns, or each of its items if it *iterates*.

    The model takes its next step when the caller asks for the next item. Closing this generator, or
    cancelling the task that reads it, stops the model at its next step; one that has not come back
    after *grace* seconds is left behind.
    """
    run = CurrentRun(log)
    variables = contextvars.copy_context()
    variables.run(CURRENT.set, run)
    send, receive = anyio.create_memory_object_stream[object]()
    demand = asyncio.Semaphore(0)
    driver = _Driver(function, iterates, send, demand, variables.copy())
    task = asyncio.get_running_loop().create_task(driver.drive(), context=variables)
    try:
        with receive:
            async for item in receive:
                yield item
                demand.release()
        await asyncio.wait({task})
    finally:
        run.stopping = not task.done()
        if run.stopping:
            await _stop(task, grace)
        run.end()
    if task.cancelled():
        raise RuntimeError("the model cancelled itself")
    task.result()


def as_exception(error: BaseException) -> Exception:
    """Return the error of a run whose model raised what is no `Exception`."""
    try:
        shown = repr(error)
    except BaseException:  # noqa: BLE001 - the model's own code
        shown = type(error).__name__
    return RuntimeError(f"the model raised {shown}")


async def _stop(task: asyncio.Task[None], grace: float) -> None:
    task.cancel()
    with anyio.CancelScope(shield=True):
        await asyncio.wait({task}, timeout=grace)
    if task.done():
        _retrieve(task)
    else:
        _left_behind.add(task)
        task.add_done_callback(_retrieve)


def _retrieve(task: asyncio.Task[None]) -> None:
    """Look at the outcome that nobody waits for any more, or asyncio complains about it."""
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()


class _Driver:
    """Takes the steps of one function and hands the items over."""

    def __init__(
        self,
        function: Callable[[], object],
        iterates: bool,  # noqa: FBT001 - as `execute` was told
        send: MemoryObjectSendStream[object],
        demand: asyncio.Semaphore,
        variables: contextvars.Context,
    ) -> None:
        self._function = function
        self._iterates = iterates
        self._send = send
        self._demand = demand
        self._thread = RunThread(variables)

    async def drive(self) -> None:
        with captured(), self._send:
            try:
                await self._run()
            except (Exception, asyncio.CancelledError):
                raise
            except BaseException as error:
                # In a task SystemExit would end the event loop, and others mean something to it.
                raise as_exception(error) from error
            finally:
                self._thread.finish()

    async def _run(self) -> None:
        result = await self._result()
        if not self._iterates:
            await self._send.send(result)
        elif isinstance(result, AsyncIterable):
            await self._async_items(cast("AsyncIterable[object]", result))
        elif isinstance(result, Iterable):
            await self._items(iter(cast("Iterable[object]", result)))
        else:
            raise TypeError(
                f"the model returned a {type(result).__qualname__}, and says that it returns an "
                f"iterator"
            )

    async def _result(self) -> object:
        target = underlying(self._function)
        if inspect.isasyncgenfunction(target):
            return self._function()
        if inspect.iscoroutinefunction(target):
            return await cast("Awaitable[object]", self._function())
        result = await self._thread.call(self._function)
        return await cast("Awaitable[object]", result) if inspect.isawaitable(result) else result

    async def _async_items(self, items: AsyncIterable[object]) -> None:
        try:
            async for item in items:
                await self._hand_over(item)
        finally:
            if isinstance(items, AsyncGenerator):
                await cast("AsyncGenerator[object]", items).aclose()

    async def _items(self, items: Iterator[object]) -> None:
        try:
            while (item := await self._thread.call(lambda: next(items, _END))) is not _END:
                await self._hand_over(item)
        except asyncio.CancelledError:
            await self._close(getattr(items, "close", None))
            raise

    async def _close(self, close: Any) -> None:
        """Run a generator's ``finally`` blocks: now, or when its thread comes back."""
        if not callable(close):
            return
        if self._thread.busy:
            self._thread.finish(close)
            return
        with anyio.move_on_after(GRACE / 2, shield=True):
            await self._thread.call(close)

    async def _hand_over(self, item: object) -> None:
        await self._send.send(item)
        await self._demand.acquire()
