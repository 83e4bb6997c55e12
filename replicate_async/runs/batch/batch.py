"""The batch that ``client.batch`` returns."""

from __future__ import annotations

import asyncio
import os
from typing import Generic, Self, TypeVar

from replicate_async.errors import ClientStateError, JournalLostError
from replicate_async.runs.batch.results import BatchProgress, BatchResult, BatchSummary
from replicate_async.runs.batch.scheduler import BatchScheduler

T = TypeVar("T")


class Batch(Generic[T]):
    """A model run over many inputs; made by ``client.batch``.

    Iterate over it for one `BatchResult` an input, as they come or, with *ordered*, in the order
    of the inputs. The iteration starts the batch. A slow consumer slows the batch: at most 64
    results wait, besides those of the predictions that run.

    Leaving ends the batch: nothing more is created, predictions that run are canceled unless
    ``on_exit="continue"``, and the journal is closed. After an ``async with`` block this has
    happened; a ``break`` out of a loop without one ends the batch in the background.
    """

    def __init__(self, scheduler: BatchScheduler) -> None:
        self._scheduler = scheduler
        self._loop: asyncio.AbstractEventLoop | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult[T]:
        scheduler = self._begin()
        try:
            result = await scheduler.results.get()
        except BaseException:
            await scheduler.aclose()
            raise
        if result is None:
            await scheduler.aclose()
            raise StopAsyncIteration
        if result.error is not None and scheduler.options.on_error == "raise":
            await scheduler.aclose()
            raise result.error
        return result

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the batch as leaving it does, within 20 seconds; can be called again."""
        await self._scheduler.aclose()

    def stop(self, *, drain: bool = True) -> None:
        """Create nothing more; the loop over the batch then ends.

        Call it in the event loop, such as from a signal handler.

        Args:
            drain: Whether predictions that run are awaited; otherwise they are canceled or not, as
                *on_exit* says.
        """
        self._scheduler.stop(drain=drain, reason="stop")

    @property
    def summary(self) -> BatchSummary:
        """The counts of the batch so far; as text, one line.

        Example::

            async with client.batch("owner/name", inputs) as batch:
                results = [result async for result in batch]
            print(batch.summary)
        """
        return self._scheduler.summary()

    @property
    def progress(self) -> BatchProgress:
        """The progress so far, with the rate and the time that is left."""
        return self._scheduler.stats.progress()

    @property
    def how_to_resume(self) -> str:
        """A sentence that says how to resume the batch."""
        journal = self._scheduler.options.journal
        if journal is None:
            return (
                "The batch has no journal, so it cannot be resumed: pass journal='batch.db' next "
                "time."
            )
        if isinstance(self._scheduler.error, JournalLostError):
            return str(self._scheduler.error)
        path = os.fspath(journal)
        return f"Run the same batch with journal={path!r} to resume: nothing is created twice."

    def _begin(self) -> BatchScheduler:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._scheduler.start()
        elif self._loop is not asyncio.get_running_loop():
            raise ClientStateError("A batch belongs to the event loop that it began in.")
        return self._scheduler

    def __del__(self) -> None:
        scheduler, loop = self._scheduler, self._loop
        if loop is not None and not loop.is_closed() and scheduler.stats.ended is None:
            # The results cannot be taken any more; this may be any thread.
            loop.call_soon_threadsafe(lambda: scheduler.stop(drain=False, reason="left"))

    def __repr__(self) -> str:
        scheduler = self._scheduler
        model = scheduler.options.model
        if scheduler.task is None:
            return f"<Batch {model} not begun>"
        state = "over" if scheduler.task.done() else "running"
        return f"<Batch {model} {state}, {scheduler.stats.done} done>"
