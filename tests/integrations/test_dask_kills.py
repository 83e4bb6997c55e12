"""Workers, schedulers and drivers that are lost: nothing is created twice, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from replicate_async import Limits, PrepareError, Replicate, ReplicateError
from replicate_async.local import LocalReplicate
from tests.integrations.dask_cluster import (
    LOSSES,
    MODEL,
    PROGRAM,
    ROOT,
    Processes,
    alone,
    created,
    finish,
    prepare,
    processes,
    rows,
    seen,
    stop,
)
from tests.support.waiting import HANG

distributed: Any = pytest.importorskip("distributed", reason="the integrations session installs it")

from tests.integrations.dask_program import run  # noqa: E402 - see above

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    # Dask leaves sockets and loops of its own to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
]

ITEMS: Final = 120


@pytest.fixture
async def cluster(server: LocalReplicate) -> AsyncIterator[Processes]:
    async with processes(server) as started:
        yield started


@pytest.fixture
async def dask(cluster: Processes) -> AsyncIterator[Any]:
    async with distributed.Client(cluster.address, asynchronous=True, timeout=HANG) as client:
        await client.wait_for_workers(3)
        client._timeout = 30  # the default; it bounds a reconnect as well
        yield client


@pytest.fixture
async def api(server: LocalReplicate) -> AsyncIterator[Replicate]:
    limits = Limits(creates=6000)
    async with Replicate(server.api_token, base_url=server.url, limits=limits) as client:
        yield client


async def values_of(
    batch: Any, done: int, then: Callable[[], Awaitable[object]], *, ignore: bool = False
) -> dict[int, Any]:
    """Collect what is seen of a batch; once *done* results are there, call *then* beside it.

    Raises the error of an item, unless errors are to be ignored.
    """
    values: dict[int, Any] = {}
    calling: asyncio.Future[object] | None = None
    async for result in batch:
        values[result.index] = None if ignore and not result.ok else seen(result)
        if len(values) == done:
            calling = asyncio.ensure_future(then())
    if calling is not None:
        await calling
    return values


async def assert_all(server: LocalReplicate, folder: Path, values: dict[int, Any]) -> None:
    """Check that all items were created once, and are as in one process, keys and files too."""
    assert await created(server) == Counter(range(ITEMS))
    assert values == await alone(server, folder / "alone", ITEMS)
    assert len({name for _, files in values.values() for name in files}) == ITEMS
    assert names(folder / "files") == names(folder / "alone")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("loss", LOSSES)
async def test_what_a_cluster_loses_costs_nothing_twice(
    server: LocalReplicate,
    cluster: Processes,
    dask: Any,
    api: Replicate,
    tmp_path: Path,
    loss: str,
) -> None:
    async with asyncio.timeout(HANG):
        batch = run(api, tmp_path, ITEMS)
        values = await values_of(batch, 20, lambda: LOSSES[loss](cluster, dask))

    await assert_all(server, tmp_path, values)


async def test_a_worker_that_outlives_its_scheduler_is_ended(
    server: LocalReplicate, cluster: Processes
) -> None:
    await cluster.up()
    stopped = next(iter(cluster.workers.values()))
    stop([stopped])

    async with asyncio.timeout(HANG):
        await cluster.replace_scheduler()
        await cluster.up()

    assert stopped.returncode == -signal.SIGKILL


@pytest.mark.parametrize("how", [[], ["plain"]], ids=["async", "plain"])
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_driver_that_is_lost_goes_on_at_once(
    server: LocalReplicate,
    cluster: Processes,
    tmp_path: Path,
    how: list[str],
    signal_number: signal.Signals,
) -> None:
    async def start() -> Process:
        command = (str(PROGRAM), cluster.address, str(tmp_path), str(ITEMS), *how)
        environment = {**cluster.env, "REPLICATE_BASE_URL": server.url}
        return await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=PIPE, cwd=ROOT, env=environment
        )

    first = await start()
    while sum((await created(server)).values()) < 30:  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.05)
    first.send_signal(signal_number)
    async with asyncio.timeout(HANG):
        await first.wait()
        second = await start()
        said, _ = await second.communicate()

    assert first.returncode != 0
    assert second.returncode == 0
    await assert_all(server, tmp_path, dict(map(json.loads, said.splitlines()[1:])))
    if how and signal_number is signal.SIGTERM:
        assert first.returncode == 128 + signal.SIGTERM


async def test_leaving_waits_for_no_worker(
    server: LocalReplicate, cluster: Processes, dask: Any, api: Replicate
) -> None:
    from replicate_async.integrations.dask import run_on_dask

    batch = run_on_dask(api, MODEL, rows(ITEMS), prepare=prepare, finish=finish)
    try:
        async with asyncio.timeout(HANG), batch:
            async for _ in batch:
                stop(cluster.workers.values())
                break
            left_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - left_at < 30
    finally:
        for worker in cluster.workers.values():
            worker.kill()


async def test_a_row_that_kills_its_workers_is_an_error_of_its_own(
    server: LocalReplicate, cluster: Processes, dask: Any, api: Replicate
) -> None:
    from replicate_async.integrations.dask import run_on_dask

    for _ in range(3):
        await cluster.add_worker()
    await dask.wait_for_workers(6)

    def deadly(row: dict[str, int]) -> dict[str, int]:
        import os

        if row["id"] == 0:
            os._exit(1)
        return {"number": row["id"]}

    batch = run_on_dask(api, MODEL, rows(3), prepare=deadly, ordered=True)
    async with asyncio.timeout(HANG):
        found = [result async for result in batch]

    assert isinstance(found[0].error, PrepareError)
    assert "KilledWorker" in str(found[0].error)
    assert [result.output for result in found[1:]] == ["2", "4"]


async def test_without_a_scheduler_the_batch_ends_and_is_resumed(
    server: LocalReplicate, cluster: Processes, dask: Any, api: Replicate, tmp_path: Path
) -> None:
    async with asyncio.timeout(HANG):
        with pytest.raises(ReplicateError, match="scheduler has not answered"):
            await values_of(run(api, tmp_path, ITEMS), 20, cluster.close, ignore=True)

    await cluster.start(2)
    async with asyncio.timeout(HANG):
        async with distributed.Client(cluster.address, asynchronous=True, timeout=HANG):
            values = {each.index: seen(each) async for each in run(api, tmp_path, ITEMS)}
    await assert_all(server, tmp_path, values)
