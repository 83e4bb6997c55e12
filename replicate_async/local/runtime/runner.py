"""Queues runs and executes them: setup, the model, deadlines and cancellation, an end."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import aclosing

from replicate_async.local.clock import Clock
from replicate_async.local.runtime.fetcher import Fetcher
from replicate_async.local.runtime.instance import Instance, SetupError
from replicate_async.local.runtime.run_handle import ServerRunHandle
from replicate_async.local.settings import Settings
from replicate_async.local.store.records import RunRecord, Status, Version
from replicate_async.local.store.store import Store


class Runner:
    """Executes runs, each in a task; the slots of its version limit how many at once."""

    def __init__(self, settings: Settings, clock: Clock, store: Store, fetcher: Fetcher) -> None:
        self._settings = settings
        self._clock = clock
        self._store = store
        self._fetcher = fetcher
        self._instances: dict[Version, Instance] = {}
        self._training_slots = asyncio.Semaphore(settings.concurrency)
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, run: RunRecord) -> None:
        """Queue a run."""
        if run.deadline is not None:
            run.timers.append(self._clock.call_at(run.deadline, lambda: self._expire(run)))
        task = run.task = asyncio.create_task(self._execute(run))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            run.task = None  # an ended run is kept for an hour, without its task

        task.add_done_callback(ended)

    def cancel(self, run: RunRecord) -> None:
        """Cancel a run; one that has ended stays as it is."""
        self._end(run, "canceled")

    async def close(self) -> None:
        """Cancel every run, wait until all are gone, and close the backends."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for instance in self._instances.values():
            await instance.close()
        self._instances.clear()

    async def _execute(self, run: RunRecord) -> None:
        try:
            if run.kind == "training":
                async with self._training_slots:
                    await self._train(run)
            else:
                instance = self._instance(run.version)
                async with instance.slots:  # first, so that runs begin in their order
                    await instance.ready()
                    await self._predict(run)
            self._finish(run, "succeeded")
        except asyncio.CancelledError:
            self._finish(run, "canceled")
            raise
        except SetupError as error:
            run.log(error.logs, on_stream=False)
            self._fail(run, error.__cause__ or error)
        except BaseException as error:
            self._fail(run, error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise  # the process's own: a model's become RuntimeError

    def _instance(self, version: Version) -> Instance:
        if version not in self._instances:
            self._instances[version] = Instance(version.backend, self._settings.concurrency)
        return self._instances[version]

    def _begin(self, run: RunRecord) -> ServerRunHandle:
        run.begin()
        limit = self._settings.run_timeout
        run.timers.append(self._clock.call_later(limit, lambda: self._time_out(run)))
        return ServerRunHandle(run, self._store.files, self._fetcher, self._settings)

    async def _predict(self, run: RunRecord) -> None:
        """Run the model, and keep what it yields."""
        backend = run.version.backend
        part = backend.output != "value"
        async with aclosing(backend.predict(run.input, self._begin(run))) as outputs:
            async for value in outputs:
                run.add_output(value, part=part)
        if part and run.output is None:
            run.output = []
        if backend.output == "text":
            _count_tokens(run)

    async def _train(self, run: RunRecord) -> None:
        """Train the model, and make the result a version of the destination."""
        handle = self._begin(run)
        backend, weights = await run.version.backend.train(run.input, handle)
        if run.terminal or run.destination is None:
            return
        url = await handle.save(weights, "weights.bin", "application/octet-stream")
        version = self._store.add_version(run.destination, backend)
        output = {"version": f"{run.destination.ref}:{version.id}", "weights": url}
        run.add_output(output, part=False)

    def _fail(self, run: RunRecord, error: BaseException) -> None:
        text, trace = _described(error)
        run.log(trace, on_stream=False)
        self._finish(run, "failed", text)

    def _finish(self, run: RunRecord, status: Status, error: str | None = None) -> None:
        if run.terminal:
            return
        run.finish(status, error)
        self._clock.call_later(self._settings.data_retention, lambda: self._store.expire(run))

    def _expire(self, run: RunRecord) -> None:
        """End a run at its deadline: one that never began is aborted and costs nothing."""
        self._end(run, "aborted" if run.started is None else "canceled")

    def _time_out(self, run: RunRecord) -> None:
        seconds = self._settings.run_timeout
        self._end(run, "failed", f"Prediction timed out after {seconds:g} seconds")

    def _end(self, run: RunRecord, status: Status, error: str | None = None) -> None:
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
