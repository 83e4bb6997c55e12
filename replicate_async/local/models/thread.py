"""A thread for one run, so that a blocking model does not block the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class RunThread:
    """Calls functions one after another, all in one thread and in one context.

    The thread starts with the first call. It is a daemon: code that never returns is abandoned and
    delays neither the run nor the end of the program.
    """

    def __init__(self, context: contextvars.Context) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._started = False
        self.busy: bool = False
        """Whether a call is being executed, or was abandoned."""

    async def call(self, function: Callable[[], T]) -> T:
        """Return what *function* returns; a cancelled caller does not wait for it.

        A coroutine that the cancelled caller does not get is closed.
        """
        future: asyncio.Future[_Result[T]] = self._loop.create_future()

        def job() -> None:
            try:
                result = _Result(self._context.run(function))
            # A future cannot hold StopIteration.
            except StopIteration as error:
                self._settle(future, None, RuntimeError(f"the model raised {error!r}"))
            except BaseException as error:  # noqa: BLE001 - passed on to the caller
                self._settle(future, None, error)
            else:
                self._settle(future, result, None)

        self.busy = True
        self._start()
        self._jobs.put(job)
        return (await future).take()

    def finish(self, last: Callable[[], object] | None = None) -> None:
        """End the thread after its calls and after *last*."""
        if not self._started:
            return
        if last is not None:

            def closing() -> None:
                with suppress(BaseException):
                    self._context.run(last)

            self._jobs.put(closing)
        self._jobs.put(None)

    def _start(self) -> None:
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name="model", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _settle(
        self,
        future: asyncio.Future[_Result[T]],
        result: _Result[T] | None,
        error: BaseException | None,
    ) -> None:
        def settle() -> None:
            self.busy = False
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast("_Result[T]", result))

        # The loop may be closed when an abandoned thread returns.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(settle)


class _Result(Generic[T]):
    """What a function returned; a coroutine that is not taken is closed, or Python would warn.

    The caller may be cancelled, and the loop may be closed before it runs a last callback.
    """

    def __init__(self, value: T) -> None:
        self._value: T | None = value

    def take(self) -> T:
        """Return the value."""
        value, self._value = self._value, None
        return cast("T", value)

    def __del__(self) -> None:
        if inspect.iscoroutine(self._value):
            self._value.close()
