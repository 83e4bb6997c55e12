from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicate_async import Limits, Replicate
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.results import BatchProgress

distributed = pytest.importorskip("distributed", reason="the integrations session installs it")

if TYPE_CHECKING:
    from distributed import Client

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    # What a killed worker was about to create is looked for during half a minute.
    pytest.mark.timeout(180),
    # Dask leaves sockets and loops of its own to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
]

LIMITS = Limits(creates=6000)


async def double(number: int, delay_ms: int = 20) -> str:
    await asyncio.sleep(delay_ms / 1000)
    return str(2 * number)


@pytest.fixture
async def models(server: LocalReplicate) -> LocalReplicate:
    server.add_model("acme/double", double, official=True)
    return server


@pytest.fixture
async def dask() -> AsyncIterator[Client]:
    async with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            dashboard_address=None,
            asynchronous=True,
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, asynchronous=True) as client,
    ):
        yield client


def connect_to(server: LocalReplicate) -> Any:
    return partial(Replicate, server.api_token, base_url=server.url, limits=LIMITS)


async def created(server: LocalReplicate) -> Counter[int]:
    async with Replicate(server.api_token, base_url=server.url) as client:
        return Counter([p.input["number"] async for p in client.predictions.list() if p.input])


async def test_a_worker_that_is_killed_costs_nothing_twice(
    models: LocalReplicate, dask: Client, tmp_path: Path
) -> None:
    from replicate_async.integrations.dask import spread

    heard: list[BatchProgress] = []
    results: dict[int, Any] = {}
    inputs = [{"number": number} for number in range(120)]
    async with spread(
        dask,
        "acme/double",
        inputs,
        journals=tmp_path,
        shard_size=10,
        limits=LIMITS,
        connect=connect_to(models),
        on_progress=heard.append,
        concurrency=5,
    ) as spreading:
        async for result in spreading:
            results[result.index] = result.unwrap()
            if len(results) == 20:
                pids: dict[str, int] = await cast("Any", dask).run(os.getpid)
                os.kill(next(iter(pids.values())), signal.SIGKILL)

    assert results == {number: str(2 * number) for number in range(120)}
    assert await created(models) == Counter(range(120))
    assert heard[-1].done <= 120


async def test_leaving_stops_the_workers(
    models: LocalReplicate, dask: Client, tmp_path: Path
) -> None:
    from replicate_async.integrations.dask import spread

    inputs = (
        {"number": number, "delay_ms": 50 if number == 0 else 60_000} for number in range(100)
    )
    async with spread(
        dask,
        "acme/double",
        inputs,
        journals=tmp_path,
        shard_size=1,
        limits=LIMITS,
        connect=connect_to(models),
    ) as spreading:
        async for result in spreading:
            assert result.index == 0
            break

    async with Replicate(models.api_token, base_url=models.url) as client:
        found = [prediction async for prediction in client.predictions.list()]
    assert {prediction.status for prediction in found} <= {"succeeded", "canceled"}
    assert len(found) < 20


async def test_a_client_that_blocks_is_refused(dask: Client, tmp_path: Path) -> None:
    from replicate_async import InvalidArgumentError
    from replicate_async.integrations.dask import spread

    class Blocking:
        asynchronous = False

    with pytest.raises(InvalidArgumentError, match="asynchronous=True"):
        spread(Blocking(), "acme/double", [], journals=tmp_path)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - has what is looked at
