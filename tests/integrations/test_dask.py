from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from replicate_async import (
    ClientStateError,
    InvalidArgumentError,
    PrepareError,
    Replicate,
)
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.results import BatchResult
from tests.integrations.dask_cluster import MODEL, created, double, finish, prepare, rows
from tests.support.embedded import until
from tests.support.waiting import HANG

INSTALLED = "the integrations session installs it"
distributed: Any = pytest.importorskip("distributed", reason=INSTALLED)

from replicate_async.integrations.dask import BatchArguments, run_on_dask  # noqa: E402 - see above

pytestmark = [
    pytest.mark.anyio,
    # Dask leaves sockets and loops of its own to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
]

LARGE = 300_000
"""Bytes of a file that is uploaded."""


@pytest.fixture
async def models(server: LocalReplicate, monkeypatch: pytest.MonkeyPatch) -> LocalReplicate:
    server.add_model(MODEL, double, official=True)
    monkeypatch.setenv("REPLICATE_API_TOKEN", server.api_token)
    # Another name of the same server, which the URLs of its uploads show.
    monkeypatch.setenv("REPLICATE_BASE_URL", server.url.replace("127.0.0.1", "localhost"))
    return server


@pytest.fixture
async def dask() -> AsyncIterator[Any]:
    """A cluster whose workers are in this process."""
    async with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=False,
            dashboard_address="127.0.0.1:0",
            asynchronous=True,
            silence_logs=50,
            resources={"GPU": 1},
        ) as cluster,
        distributed.Client(cluster, asynchronous=True) as client,
    ):
        yield client


async def results_of(batch: Any) -> list[Any]:
    results: list[Any] = [result async for result in batch]
    return sorted(results, key=lambda result: result.index)


async def test_results_equal_those_of_one_process(
    models: LocalReplicate, client: Replicate, dask: Any, tmp_path: Path
) -> None:
    @models.model("acme/write", official=True)
    def write(number: int) -> Path:
        if number == 3:
            raise ValueError("three")
        path = tmp_path / f"{number}.txt"
        path.write_text(f"number {number}")
        return path

    async def refuse(row: dict[str, int]) -> dict[str, int]:
        if row["id"] == 5:
            raise KeyError("five")
        return {"number": row["id"]}

    async def read(result: Any) -> list[object]:
        if result.index == 7:
            raise OSError("seven")
        return [result.key, (await result.output.read()).decode(), result.input]

    there = await results_of(
        run_on_dask(
            client,
            "acme/write",
            rows(8),
            prepare=refuse,
            finish=read,
            journal=tmp_path / "there.db",
            save_files=tmp_path / "there",
        )
    )
    here = await results_of(
        client.batch(
            "acme/write",
            rows(8),
            prepare=refuse,
            finish=read,
            journal=tmp_path / "here.db",
            save_files=tmp_path / "here",
        )
    )

    def seen(result: BatchResult[Any]) -> list[object]:
        error, made = result.error, result.prediction
        said = str(error) if made is None else str(error).replace(made.id, "ID")
        cause = None if error is None else error.__cause__
        files = [(path.name, path.read_bytes()) for path in result.files]
        shown = [result.key, result.input, result.value, files, type(error), said, repr(cause)]
        return [*shown, result.uncertain, result.resumed, None if made is None else made.status]

    assert [seen(result) for result in there] == [seen(result) for result in here]
    assert sum(result.ok for result in there) == 5


async def test_files_are_uploaded_and_downloaded_on_the_workers(
    models: LocalReplicate, client: Replicate, dask: Any, tmp_path: Path
) -> None:
    @models.model("acme/where", official=True)
    def where(document: str) -> Path:
        path = tmp_path / f"{document.rpartition('/')[2]}.txt"  # two runs go at the same time
        path.write_text(document)
        return path

    def with_file(row: dict[str, int]) -> dict[str, object]:
        path = tmp_path / f"{row['id']}.bin"
        path.write_bytes(b"x" * (LARGE + row["id"]))
        return {"document": path}

    async def read(result: Any) -> str:
        text: bytes = await result.output.read()
        return text.decode()

    batch = run_on_dask(client, "acme/where", rows(2), prepare=with_file, finish=read)
    found = await results_of(batch)

    assert all(result.value.startswith("http://localhost:") for result in found)
    uploads = [file async for file in client.files.list()]
    assert {file.size for file in uploads} == {LARGE, LARGE + 1}
    assert {file.urls.get.rpartition("/")[2] for file in uploads} == {
        result.value.rpartition("/")[2] for result in found
    }


async def test_a_value_with_a_file_has_the_drivers_client(
    models: LocalReplicate, client: Replicate, dask: Any, tmp_path: Path
) -> None:
    @models.model("acme/write", official=True)
    def write(number: int) -> Path:
        path = tmp_path / "number.txt"
        path.write_text(str(number))
        return path

    async def keep(result: BatchResult[Any]) -> dict[str, object]:
        return {"file": result.output}

    found = await results_of(
        run_on_dask(client, "acme/write", [{"number": 4}], prepare=dict, finish=keep)
    )

    assert await found[0].value["file"].read() == b"4"


@pytest.mark.parametrize("place", ["closure", "default", "row"])
async def test_the_token_does_not_travel(
    models: LocalReplicate, client: Replicate, dask: Any, place: str
) -> None:
    token = models.api_token

    def closed(row: dict[str, object]) -> dict[str, object]:
        return row | {"token": token}

    def given(row: dict[str, object], token: str = token) -> dict[str, object]:
        return row | {"token": token}

    if place == "row":
        batch = run_on_dask(client, MODEL, [{"number": 1, "note": token}], prepare=dict)
        (result,) = await results_of(batch)
        error = result.error.__cause__ if result.error is not None else None
        assert isinstance(error, InvalidArgumentError)
        assert batch.summary.created == 0
    else:
        with pytest.raises(InvalidArgumentError) as caught:
            run_on_dask(client, MODEL, [], prepare=closed if place == "closure" else given)
        error = caught.value
    assert "REPLICATE_API_TOKEN in the environment of the workers" in str(error)
    assert token not in str(error)


async def test_a_function_with_a_client_is_refused(client: Replicate, dask: Any) -> None:
    async def ask(row: dict[str, object]) -> dict[str, object]:
        return {"text": await client.run("acme/other", row)}

    with pytest.raises(InvalidArgumentError, match="prepare cannot be sent to a worker"):
        run_on_dask(client, MODEL, [], prepare=ask)


async def test_without_a_dask_client_the_call_is_refused(client: Replicate) -> None:
    with pytest.raises(InvalidArgumentError, match="no Dask client"):
        run_on_dask(client, MODEL, [])


async def test_a_function_must_be_callable(client: Replicate, dask: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="finish='x' must be a function"):
        run_on_dask(client, MODEL, [], finish="x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake


def test_all_options_of_a_batch_are_options_here() -> None:
    ours = set(get_type_hints(BatchArguments))
    named = set(inspect.signature(run_on_dask).parameters)
    theirs = set(inspect.signature(Replicate.batch).parameters)

    assert ours | named >= theirs - {"self"}
    assert ours <= theirs


async def test_values_may_stay_on_the_workers(
    models: LocalReplicate, client: Replicate, dask: Any, tmp_path: Path
) -> None:
    def number(result: BatchResult[str]) -> int:
        return int(result.output or "")

    def batch() -> Any:
        journal = tmp_path / "run.db"
        return run_on_dask(
            client, MODEL, rows(4), prepare=prepare, finish=number, gather=False, journal=journal
        )

    first = await results_of(batch())
    total: int = await dask.submit(sum, [result.value for result in first])
    again = await results_of(batch())  # the journal has no value of these

    assert [result.resumed for result in again] == [True] * 4
    assert total == 12
    assert [await result.value for result in again] == [0, 2, 4, 6]


async def test_a_bag_is_read_a_partition_at_a_time(
    models: LocalReplicate, client: Replicate, dask: Any
) -> None:
    bags: Any = pytest.importorskip("dask.bag", reason=INSTALLED)
    bag = bags.from_sequence(rows(10), npartitions=4).map(dict)

    found = await results_of(run_on_dask(client, MODEL, bag, prepare=prepare, ordered=True))

    assert [result.output for result in found] == [str(2 * each) for each in range(10)]


async def test_a_dataframe_is_read_a_partition_at_a_time(
    models: LocalReplicate, client: Replicate, dask: Any
) -> None:
    frames: Any = pytest.importorskip("dask.dataframe", reason=INSTALLED)
    pandas: Any = pytest.importorskip("pandas", reason=INSTALLED)
    frame = frames.from_pandas(pandas.DataFrame({"number": range(10)}), npartitions=3)

    found = await results_of(run_on_dask(client, MODEL, frame, finish=finish))

    assert [result.value for result in found] == [[each.key, each.output] for each in found]
    assert [result.output for result in found] == [str(2 * each) for each in range(10)]


async def test_the_rows_of_an_iterator_are_read_as_they_are_needed(
    models: LocalReplicate, client: Replicate, dask: Any
) -> None:
    read = 0

    def endless() -> Iterator[dict[str, int]]:
        nonlocal read
        while True:
            read += 1
            yield {"id": read}

    batch = run_on_dask(client, MODEL, endless(), prepare=prepare, finish=finish, concurrency=4)
    async with batch:
        async for _ in batch:
            if batch.summary.ok >= 10:
                batch.stop()

    assert batch.summary.stopped == "stop"
    assert read < 2000


async def test_results_come_in_the_order_of_the_rows_if_asked(
    models: LocalReplicate, client: Replicate, dask: Any
) -> None:
    def first_is_last(row: dict[str, int]) -> dict[str, int]:
        return {"number": row["id"], "delay_ms": 500 if row["id"] == 0 else 1}

    batch = run_on_dask(client, MODEL, rows(6), prepare=first_is_last, finish=finish, ordered=True)
    order = [result.index async for result in batch]

    assert order == list(range(6))


async def test_a_stop_hands_over_what_runs_and_the_same_call_goes_on(
    models: LocalReplicate, client: Replicate, dask: Any, tmp_path: Path
) -> None:
    def run() -> Any:
        return run_on_dask(
            client,
            MODEL,
            rows(30),
            prepare=prepare,
            finish=finish,
            journal=tmp_path / "run.db",
            concurrency=4,
        )

    batch = run()
    first: dict[int, Any] = {}
    async for result in batch:
        first[result.index] = result.unwrap() and result.value
        if len(first) == 5:
            batch.stop()
    made = await created(models)
    again = {result.index: (result.value, result.resumed) async for result in run()}

    assert batch.summary.stopped == "stop"
    assert "run.db" in batch.how_to_resume
    assert 5 <= len(first) < 30
    assert made == Counter(list(first))
    assert await created(models) == Counter(range(30))
    assert again.keys() == set(range(30))
    assert all(again[index] == (value, True) for index, value in first.items())


async def test_tasks_have_names_and_run_where_they_may(
    models: LocalReplicate, client: Replicate, dask: Any
) -> None:
    addresses = list((await dask.scheduler.identity())["workers"])

    def where(row: dict[str, int]) -> dict[str, int]:
        assert distributed.get_worker().address == addresses[1]
        return {"number": row["id"]}

    def task(result: BatchResult[str]) -> list[object]:
        tasks = distributed.get_worker().state.executing
        (task,) = [task for task in tasks if task.resource_restrictions == {"GPU": 1}]
        return [task.key, task.priority[0]]

    found = await results_of(
        run_on_dask(
            client,
            MODEL,
            rows(4),
            key="id",
            prepare=where,
            finish=task,
            workers=addresses[1],
            resources={"GPU": 1},
        )
    )

    for result in found:
        key, priority = result.value
        assert key.startswith(f"finish-{result.key}-")
        assert priority == -1  # before prepare, which has 0


async def test_a_worker_that_joins_later_takes_calls_that_wait(
    models: LocalReplicate, client: Replicate, dask: Any, tmp_path: Path
) -> None:
    first = set((await dask.scheduler.identity())["workers"])
    begun, joined = tmp_path / "begun", tmp_path / "joined"

    def where(row: dict[str, int]) -> dict[str, int]:
        begun.touch()
        if distributed.get_worker().address not in first:
            joined.touch()
        while not joined.exists():
            time.sleep(0.01)
        return {"number": row["id"]}

    async def join() -> None:
        await until(begun.exists)
        dask.cluster.scale(3)

    joining = asyncio.create_task(join())
    try:
        async with asyncio.timeout(HANG):
            found = await results_of(run_on_dask(client, MODEL, rows(40), prepare=where))
            await joining
    finally:
        joined.touch()  # lets the threads of a failed test end

    assert [result.output for result in found] == [str(2 * each) for each in range(40)]


async def test_a_cluster_that_cancels_tasks_for_a_while_loses_no_call(
    models: LocalReplicate, client: Replicate, dask: Any
) -> None:
    async def cancel_all() -> None:
        loop = asyncio.get_running_loop()
        ends, canceled = loop.time() + 1.5, 0
        while loop.time() < ends or not canceled:
            futures = [distributed.Future(key, dask) for key in list(dask.futures)]
            canceled += len(futures)
            await dask.cancel(futures, force=True)
            await asyncio.sleep(0.01)

    canceling = asyncio.create_task(cancel_all())
    async with asyncio.timeout(HANG):
        found = await results_of(run_on_dask(client, MODEL, rows(3), prepare=prepare))
        await canceling

    assert [result.output for result in found] == ["0", "2", "4"]


async def test_a_client_that_waits_is_iterated_with_async_for(client: Replicate, dask: Any) -> None:
    with pytest.raises(ClientStateError, match="async for"):
        iter(run_on_dask(client, MODEL, []))


async def test_a_worker_without_a_token_says_what_to_set(
    models: LocalReplicate, client: Replicate, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN")

    def upload(_: dict[str, int]) -> dict[str, object]:
        return {"number": b"x" * LARGE}

    (result,) = await results_of(run_on_dask(client, MODEL, rows(1), prepare=upload))

    assert isinstance(result.error, PrepareError)
    assert "REPLICATE_API_TOKEN" in str(result.error)


async def test_leaving_ends_the_batch(models: LocalReplicate, client: Replicate, dask: Any) -> None:
    def slow(row: dict[str, int]) -> dict[str, int]:
        return {"number": row["id"], "delay_ms": 20 if row["id"] == 0 else 60_000}

    async with run_on_dask(client, MODEL, rows(100), prepare=slow, concurrency=10) as batch:
        async for result in batch:
            assert result.index == 0
            break

    found = [prediction async for prediction in client.predictions.list()]
    assert {prediction.status for prediction in found} <= {"succeeded", "canceled"}
    assert len(found) < 40
