"""Executes a function in a task or thread, one step at a time, with its own logs."""

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
"""Seconds that a cancelled model has for its ``finally`` blocks, before it is abandoned."""

_END: Final = object()
# An abandoned task must not be collected while it runs.
_abandoned: set[asyncio.Task[None]] = set()


async def execute(
    function: Callable[[], object], log: RunLog, *, iterates: bool, grace: float = GRACE
) -> AsyncGenerator[object]:
    """Run *function* and yield what it returns, or each of its items if it *iterates*.

    The model takes its next step when the caller asks for the next item. Closing this generator, or
    cancelling the task that reads it, stops the model at its next step; one that has not returned
    after *grace* seconds is abandoned.
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
    """Return the error of a model that raised a `BaseException` such as SystemExit."""
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
        _abandoned.add(task)
        task.add_done_callback(_retrieve)


def _retrieve(task: asyncio.Task[None]) -> None:
    """Retrieve the exception, which asyncio would log otherwise."""
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()


class _Driver:
    """Takes the steps of one function and sends its items."""

    def __init__(
        self,
        function: Callable[[], object],
        iterates: bool,  # noqa: FBT001 - private
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
                # SystemExit in a task would end the event loop.
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
                f"the model returned a {type(result).__qualname__}, but is annotated to return an "
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
                await self._send_item(item)
        finally:
            if isinstance(items, AsyncGenerator):
                await cast("AsyncGenerator[object]", items).aclose()

    async def _items(self, items: Iterator[object]) -> None:
        try:
            while (item := await self._thread.call(lambda: next(items, _END))) is not _END:
                await self._send_item(item)
        except asyncio.CancelledError:
            await self._close(getattr(items, "close", None))
            raise

    async def _close(self, close: Any) -> None:
        """Run a generator's ``finally`` blocks, now or once its thread returns."""
        if not callable(close):
            return
        if self._thread.busy:
            self._thread.finish(close)
            return
        with anyio.move_on_after(GRACE / 2, shield=True):
            await self._thread.call(close)

    async def _send_item(self, item: object) -> None:
        await self._send.send(item)
        await self._demand.acquire()
