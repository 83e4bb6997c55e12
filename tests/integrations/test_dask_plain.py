"""A blocking Dask client: batches in plain code, as in notebooks and in tasks of schedulers."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from replicate_async import ClientStateError, Replicate
from replicate_async.local import LocalReplicate
from tests.integrations.dask_cluster import (
    MODEL,
    BackgroundServer,
    created,
    double,
    finish,
    rows,
)

distributed: Any = pytest.importorskip("distributed", reason="the integrations session installs it")

from replicate_async.integrations.dask import DaskBatch, run_on_dask  # noqa: E402 - see above

pytestmark = [
    # Dask leaves sockets and loops of its own to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
]

ITEMS = 20


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalReplicate]:
    with BackgroundServer() as server:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.api_token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.url)
        server.add_model(MODEL, double, official=True)
        yield server


@pytest.fixture
def cluster(server: LocalReplicate) -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=1, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        yield cluster


def prepare(row: dict[str, int]) -> dict[str, int]:
    """Let the second to the fourth run be under way when the first one ends."""
    return {"number": row["id"], "delay_ms": 1000 if row["id"] in {1, 2, 3} else 20}


def batch_of(journal: Path) -> DaskBatch[str]:
    return run_on_dask(
        Replicate(),
        MODEL,
        rows(ITEMS),
        prepare=prepare,
        finish=finish,
        journal=journal,
        concurrency=4,
    )


def run(cluster: Any, journal: Path) -> dict[int, Any]:
    """Run the batch to its end, as a task of a program would."""
    with distributed.Client(cluster):
        return {result.index: result.value for result in batch_of(journal) if result.unwrap()}


def assert_all(server: LocalReplicate, values: dict[int, Any]) -> None:
    assert {index: value[1] for index, value in values.items()} == {
        number: str(2 * number) for number in range(ITEMS)
    }
    assert asyncio.run(created(server)) == Counter(range(ITEMS))


def in_this_thread(call: Callable[[], dict[int, Any]]) -> dict[int, Any]:
    return call()


def in_another_thread(call: Callable[[], dict[int, Any]]) -> dict[int, Any]:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call).result()


def in_an_event_loop(call: Callable[[], dict[int, Any]]) -> dict[int, Any]:
    async def cell() -> dict[int, Any]:
        return call()

    return asyncio.run(cell())


@pytest.mark.parametrize("where", [in_this_thread, in_another_thread, in_an_event_loop])
def test_a_plain_call_runs_anywhere_and_again_from_its_journal(
    server: LocalReplicate, cluster: Any, tmp_path: Path, where: Callable[..., dict[int, Any]]
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    first = where(lambda: run(cluster, tmp_path / "run.db"))
    again = where(lambda: run(cluster, tmp_path / "run.db"))

    assert_all(server, first)
    assert_all(server, again)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_stop_hands_over_what_runs(server: LocalReplicate, cluster: Any, tmp_path: Path) -> None:
    values: dict[int, Any] = {}
    with distributed.Client(cluster):
        batch = batch_of(tmp_path / "run.db")
        for result in batch:
            values[result.index] = result.value
            if len(values) == 3:
                batch.stop()

    assert batch.summary.stopped == "stop"
    assert asyncio.run(created(server)) == Counter(list(values))
    assert_all(server, run(cluster, tmp_path / "run.db"))


class TaskKilledError(Exception):
    """What a scheduler of tasks raises in a task that it ends."""


@pytest.mark.parametrize("handles", [True, False])
def test_sigterm_leaves_runs_to_the_next_call(
    server: LocalReplicate, cluster: Any, tmp_path: Path, handles: bool
) -> None:
    def kill(*_: object) -> None:
        raise TaskKilledError

    def task() -> None:
        with distributed.Client(cluster):
            for _ in batch_of(tmp_path / "run.db"):
                signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, kill if handles else signal.SIG_DFL)
    try:
        with pytest.raises(TaskKilledError if handles else SystemExit):
            task()
    finally:
        signal.signal(signal.SIGTERM, before)
    begun = asyncio.run(created(server))

    assert 1 <= len(begun) < ITEMS
    assert_all(server, run(cluster, tmp_path / "run.db"))  # canceled ones would be created again


def test_a_client_that_blocks_is_not_iterated_with_async_for(
    server: LocalReplicate, cluster: Any
) -> None:
    async def wrong() -> None:
        aiter(run_on_dask(Replicate(), MODEL, []))

    with distributed.Client(cluster), pytest.raises(ClientStateError, match="'for'"):
        asyncio.run(wrong())
