"""What ``client.batch`` returns."""

from __future__ import annotations

import asyncio
from typing import Generic, Self, TypeVar

from replicate_async.errors import ClientStateError, JournalLostError
from replicate_async.runs.batch.calls import BatchOptions, Calls
from replicate_async.runs.batch.engine import Engine
from replicate_async.runs.batch.results import BatchProgress, BatchResult, BatchSummary
from replicate_async.runs.batch.sources import Source

T = TypeVar("T")


class Batch(Generic[T]):
    """A model run over many inputs; made by ``client.batch``.

    Iterate over it for one `BatchResult` an input, as they come or, with *ordered*, in the order
    of the inputs. Nothing begins before that. A reader that is slow makes the batch slow: at most
    64 results wait, besides those of the predictions that run.

    Leaving ends the batch: nothing more is created, predictions that run are cancelled unless
    ``on_exit="continue"``, and the journal is closed. Leave an ``async with`` block to be sure
    that this has happened; a loop without one that is left by ``break`` ends it in the background.
    """

    def __init__(
        self,
        source: Source,
        options: BatchOptions,
        calls: Calls,
        running: set[Engine],
    ) -> None:
        self._options = options
        self._running = running
        self._engine = Engine(source, options, calls)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult[T]:
        engine = self._begin()
        try:
            result = await engine.outbox.get()
        except BaseException:
            await engine.aclose()
            raise
        if result is None:
            await engine.aclose()
            raise StopAsyncIteration
        if result.error is not None and self._options.on_error == "raise":
            await engine.aclose()
            raise result.error
        return result

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the batch as leaving it does, within 20 seconds; again, it does nothing."""
        await self._engine.aclose()

    def stop(self, *, drain: bool = True) -> None:
        """Create nothing more; the loop over the batch then ends by itself.

        With *drain* what runs is waited for; without, it is left as *on_exit* says. Call it from
        the event loop, such as in a handler of signals.
        """
        self._engine.stop(drain=drain, reason="stop")

    @property
    def summary(self) -> BatchSummary:
        """What it came to so far."""
        return self._engine.summary()

    @property
    def progress(self) -> BatchProgress:
        """How far it has come."""
        return self._engine.tally.progress()

    @property
    def how_to_resume(self) -> str:
        """What to do to have the rest of it later, in a sentence."""
        journal = self._options.journal
        if journal is None:
            return (
                "The batch has no journal, so it cannot be resumed: pass journal='batch.db' next "
                "time."
            )
        if isinstance(self._engine.error, JournalLostError):
            return str(self._engine.error)
        return f"Run the same batch with journal={journal!r} to resume: nothing is created twice."

    def _begin(self) -> Engine:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._engine.start(self._running)
        elif self._loop is not asyncio.get_running_loop():
            raise ClientStateError("A batch belongs to the event loop that it began in.")
        return self._engine

    def __del__(self) -> None:
        engine: Engine | None = getattr(self, "_engine", None)
        loop = self._loop if engine is not None else None
        if engine is None or loop is None or engine.task is None or engine.task.done():
            return
        if not loop.is_closed():
            # Nobody can take a result any more; and this may be any thread.
            loop.call_soon_threadsafe(lambda: engine.stop(drain=False, reason="left"))

    def __repr__(self) -> str:
        engine = self._engine
        if engine.task is None:
            return f"<Batch {self._options.model} not begun>"
        done = engine.tally.done
        state = "over" if engine.task.done() else "running"
        return f"<Batch {self._options.model} {state}, {done} done>"
