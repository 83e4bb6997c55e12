"""What runs the runs: a queue, a cold start, the model's function, a deadline, an end."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import aclosing
from typing import Any

from replicate_async.local.clock import Clock
from replicate_async.local.runtime.fetcher import Fetcher
from replicate_async.local.runtime.run_handle import ServerRunHandle
from replicate_async.local.settings import Settings
from replicate_async.local.store.records import RunRecord, Version
from replicate_async.local.store.store import Store


class Runner:
    """Carries runs out, so many at once."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        store: Store,
        fetcher: Fetcher,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._store = store
        self._fetcher = fetcher
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._warming: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, run: RunRecord) -> None:
        """Queue a run."""
        if run.deadline is not None:
            run.timers.append(self._clock.call_at(run.deadline, lambda: self._expire(run)))
        task = run.task = asyncio.create_task(self._carry_out(run))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            run.task = None  # an ended run is kept for an hour, and its task need not be

        task.add_done_callback(ended)

    def cancel(self, run: RunRecord) -> None:
        """Cancel a run; one that has ended stays as it is."""
        self._end(run, "canceled")

    async def close(self) -> None:
        """Cancel every run, and wait until all are gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, run: RunRecord) -> None:
        try:
            async with self._slots:
                await self._warm_up(run.version)
                run.begin()
                limit = self._settings.run_timeout
                run.timers.append(self._clock.call_later(limit, lambda: self._time_out(run)))
                handle = ServerRunHandle(run, self._store.files, self._fetcher, self._settings)
                await (self._train if run.kind == "training" else self._predict)(run, handle)
                self._finish(run, "succeeded")
        except asyncio.CancelledError:
            self._finish(run, "canceled")
            raise
        except BaseException as error:
            text, trace = _described(error)
            run.log(trace, on_stream=False)
            self._finish(run, "failed", text)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise  # not the model's: `execute` makes other errors of its own

    async def _warm_up(self, version: Version) -> None:
        if version.warm or not self._settings.cold_start:
            return
        async with self._warming.setdefault(version.id, asyncio.Lock()):
            if not version.warm:
                await self._clock.sleep(self._settings.cold_start)
                version.warm = True

    async def _predict(self, run: RunRecord, handle: ServerRunHandle) -> None:
        """Run the model, and keep what it yields."""
        function = run.version.function
        async with aclosing(function.execute(run.input, handle)) as outputs:
            async for value in outputs:
                run.add_output(value, part=function.is_iterator)
        if function.is_iterator and run.output is None:
            run.output = []
        if function.streams and not function.file_stream:
            _count_tokens(run)

    async def _train(self, run: RunRecord, handle: ServerRunHandle) -> None:
        """Train the model, and make the result a version of the destination."""
        function = run.version.function
        weights = await function.execute_training(run.input, handle)
        if run.terminal or run.destination is None:
            return
        url = await handle.save(weights, "weights.bin", "application/octet-stream")
        version = self._store.add_version(run.destination, function.with_weights(weights))
        output = {"version": f"{run.destination.ref}:{version.id}", "weights": url}
        run.add_output(output, part=False)

    def _finish(self, run: RunRecord, status: Any, error: str | None = None) -> None:
        if run.terminal:
            return
        run.finish(status, error)
        self._clock.call_later(self._settings.data_retention, lambda: self._store.expire(run))

    def _expire(self, run: RunRecord) -> None:
        """End a run at its deadline: what never began is aborted and costs nothing."""
        self._end(run, "aborted" if run.started is None else "canceled")

    def _time_out(self, run: RunRecord) -> None:
        seconds = self._settings.run_timeout
        self._end(run, "failed", f"Prediction timed out after {seconds:g} seconds")

    def _end(self, run: RunRecord, status: Any, error: str | None = None) -> None:
        if run.terminal:
            return
        self._finish(run, status, error)
        if run.task is not None:
            run.task.cancel()


def _described(error: BaseException) -> tuple[str, str]:
    """Return an error's text and its traceback, also when the model's ``__str__`` raises."""
    name = "An error"
    try:
        name = type(error).__name__
        return str(error) or name, "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - the model's own code
        return name, f"{name}, which cannot be shown\n"


def _count_tokens(run: RunRecord) -> None:
    """Measure a text stream as the service measures its language models."""
    if run.started is None or run.terminal:
        return
    words = sum(len(value.split()) for value in run.input.values() if isinstance(value, str))
    run.metrics["input_token_count"] = words
    run.metrics["output_token_count"] = run.outputs
    now = run.clock.now()
    run.metrics["tokens_per_second"] = round(run.outputs / max(now - run.started, 1e-6), 3)
    if run.first_output is not None:
        run.metrics["time_to_first_token"] = round(run.first_output - run.started, 6)
