"""A Dask cluster of processes that tests kill, stop and start, and the functions it runs."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

from replicate_async import Limits, Replicate
from replicate_async.local import LocalReplicate, OutputFile
from replicate_async.runs.batch.results import BatchResult
from tests.support.ports import free_port
from tests.support.sentinel import TOKEN
from tests.support.unmeasured import unmeasured
from tests.support.waiting import HANG

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = Path(__file__).parent / "dask_program.py"
MODEL: Final = "acme/double"
FILES: Final = "acme/write"
ENDS_WITHIN: Final = 15.0
"""Seconds in which a worker whose scheduler is gone ends by itself; then it is killed."""


async def double(number: int, delay_ms: int = 20) -> str:
    """Be the model of these tests."""
    await asyncio.sleep(delay_ms / 1000)
    return str(2 * number)


async def write(number: int) -> OutputFile:
    """Be the model of these tests whose output is a file."""
    return OutputFile((await double(number)).encode(), name="number.txt")


def prepare(row: dict[str, int]) -> dict[str, int]:
    """Take a moment, in a thread of a worker."""
    time.sleep(0.03)
    return {"number": row["id"]}


async def finish(result: BatchResult[str]) -> list[object]:
    """Take a moment, in the event loop of a worker."""
    await asyncio.sleep(0.03)
    return [result.key, result.output]


async def read(result: Any) -> list[object]:
    """Download the file of a result, in the event loop of a worker."""
    return [result.key, (await result.output.read()).decode()]


def rows(number: int) -> list[dict[str, int]]:
    """Return rows of which `prepare` makes inputs."""
    return [{"id": each} for each in range(number)]


def seen(result: BatchResult[Any]) -> list[object]:
    """Return the value and the files of a result; raises its error."""
    result.unwrap()
    return [result.value, {path.name: path.read_text() for path in result.files}]


async def alone(server: LocalReplicate, folder: Path, items: int) -> dict[int, list[object]]:
    """Return what one process makes of the same rows."""

    async def prepare(row: dict[str, int]) -> dict[str, int]:
        return {"number": row["id"]}

    async with Replicate(
        server.api_token, base_url=server.url, limits=Limits(enabled=False)
    ) as client:
        batch = client.batch(
            FILES,
            rows(items),
            prepare=prepare,
            finish=read,
            journal=folder.with_suffix(".db"),
            save_files=folder,
        )
        return {result.index: seen(result) async for result in batch}


async def created(server: LocalReplicate) -> Counter[int]:
    """Count the predictions of the server by their input."""
    async with Replicate(server.api_token, base_url=server.url) as client:
        return Counter([p.input["number"] async for p in client.predictions.list() if p.input])


class Processes:
    """A scheduler and workers, each a process; *environment* is added to theirs."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.address: str = f"tcp://127.0.0.1:{free_port()}"
        self.workers: dict[str, Process] = {}
        """The workers that run, by name, the oldest first."""
        self.env: dict[str, str] = {**unmeasured(), **environment}
        self._scheduler: Process | None = None
        self._names = count()

    async def start(self, workers: int) -> None:
        """Start the scheduler and *workers*; they are there when a client finds them."""
        await self._start_scheduler()
        for _ in range(workers):
            await self.add_worker()

    async def up(self) -> None:
        """Wait until the scheduler has all workers."""
        from distributed import rpc

        connect: Any = rpc  # it has no types
        workers = 0
        while workers < len(self.workers):
            try:
                async with connect(self.address) as scheduler, asyncio.timeout(5):
                    workers = len((await scheduler.identity(n_workers=-1))["workers"])
            except OSError:  # TimeoutError among them
                await asyncio.sleep(0.2)

    async def _start_scheduler(self) -> None:
        port = self.address.rpartition(":")[2]
        options = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
        self._scheduler = await self._run("scheduler", *options)

    async def add_worker(self) -> None:
        """Start one more worker; it ends if it finds no scheduler for a minute."""
        name = f"worker-{next(self._names)}"
        options = ("--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        ends = ("--death-timeout", "60")
        self.workers[name] = await self._run("worker", self.address, *options, *ends)

    async def replace(self, name: str) -> None:
        """Wait for the end of a worker, and start one in its place."""
        await self.workers[name].wait()
        del self.workers[name]  # until here, `close` kills it
        await self.add_worker()

    async def restart(self) -> None:
        """Kill the scheduler and the workers, and start everything again."""
        workers = len(self.workers)
        await self.close()
        await self.start(workers)

    async def replace_scheduler(self) -> None:
        """Kill the scheduler, and start it and its workers, which end without it, again."""
        assert self._scheduler is not None
        self._scheduler.kill()
        await self._scheduler.wait()
        await self._start_scheduler()
        ended = asyncio.gather(*(worker.wait() for worker in self.workers.values()))
        with suppress(TimeoutError):
            await asyncio.wait_for(ended, ENDS_WITHIN)
        for name, worker in list(self.workers.items()):
            # It stands still, or had not joined yet and now joins the new scheduler.
            _kill_process(worker)
            await self.replace(name)

    async def pause_scheduler(self, seconds: float) -> None:
        """Let the scheduler stand still for so long."""
        assert self._scheduler is not None
        self._scheduler.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._scheduler.send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """Kill everything."""
        for process in [self._scheduler, *self.workers.values()]:
            if process is not None:
                _kill_process(process)
                await process.wait()
        self.workers.clear()

    async def _run(self, what: str, *options: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"distributed.cli.dask_{what}",
            *options,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env=self.env,
            cwd=ROOT,
        )


def _kill_process(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


@asynccontextmanager
async def processes(server: LocalReplicate, workers: int = 3) -> AsyncGenerator[Processes]:
    """Start a cluster, and kill it at the end."""
    server.add_model(MODEL, double, official=True)
    server.add_model(FILES, write, official=True)
    cluster = Processes(
        {
            "REPLICATE_API_TOKEN": server.api_token,
            "REPLICATE_BASE_URL": server.url.replace("127.0.0.1", "localhost"),
        }
    )
    try:
        await cluster.start(workers)
        yield cluster
    finally:
        await cluster.close()


class BackgroundServer:
    """An embedded server in a thread, for tests without an event loop of their own."""

    def __enter__(self) -> LocalReplicate:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = LocalReplicate(api_token=TOKEN)
        self._wait_for(self._server.start())
        return self._server

    def __exit__(self, *_: object) -> None:
        self._wait_for(self._server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait_for(self, call: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(call, self._loop).result(HANG)


def stop(victims: Iterable[Process]) -> None:
    """Stop processes without ending them."""
    for victim in victims:
        victim.send_signal(signal.SIGSTOP)


async def _kill(cluster: Processes, _: Any) -> None:
    name, victim = next(iter(cluster.workers.items()))
    victim.kill()
    await cluster.replace(name)


async def _terminate(cluster: Processes, _: Any) -> None:
    name, victim = next(iter(cluster.workers.items()))
    victim.terminate()
    await cluster.replace(name)


async def _retire(cluster: Processes, dask: Any) -> None:
    name = next(iter(cluster.workers))
    while not await dask.retire_workers(names=[name]):  # noqa: ASYNC110 - not connected yet
        await asyncio.sleep(0.2)
    await cluster.replace(name)


async def stop_for(seconds: float, cluster: Processes) -> None:
    """Let the oldest worker stand still for so long."""
    name, victim = next(iter(cluster.workers.items()))
    stop([victim])
    await asyncio.sleep(seconds)
    victim.send_signal(signal.SIGCONT)
    cluster.workers[name] = cluster.workers.pop(name)


async def _stop(cluster: Processes, _: Any) -> None:
    await stop_for(20, cluster)


async def _pause(cluster: Processes, _: Any) -> None:
    await cluster.pause_scheduler(20)


async def _scheduler(cluster: Processes, _: Any) -> None:
    await cluster.replace_scheduler()


async def _restart(cluster: Processes, _: Any) -> None:
    await cluster.restart()


async def _add(cluster: Processes, _: Any) -> None:
    await cluster.add_worker()


LOSSES: Final[Mapping[str, Callable[[Processes, Any], Awaitable[None]]]] = {
    "kill": _kill,
    "terminate": _terminate,
    "retire": _retire,
    "stop": _stop,
    "pause": _pause,
    "scheduler": _scheduler,
    "restart": _restart,
    "add": _add,
}
"""What may happen to a cluster, with a Dask client of it."""
