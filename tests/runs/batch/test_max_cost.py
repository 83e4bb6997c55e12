"""A batch with ``max_cost=``: what it creates, when it stops, and what a resume counts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from replicate_async import (
    Batch,
    BatchResult,
    InvalidArgumentError,
    Limits,
    Poll,
    Replicate,
    UnprocessableEntityError,
)
from replicate_async.core.usage import Price
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.journal.reader import status
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, Made
from tests.runs.batch.collecting import results_and_error
from tests.support.embedded import until
from tests.support.replies import problem
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

COARSE: Final = Poll(first=2.5, starting=2.5, processing=2.5)  # few steps of the virtual clock


def quarter(_: Mapping[str, Any]) -> float:
    return 0.25


def by_metric(metrics: Mapping[str, Any]) -> float:
    return float(metrics["cost"])


def costing(cost: Callable[[int], float]) -> Callable[[Made], None]:
    """Return the outcome of predictions whose cost depends on their input."""

    def outcome(made: Made) -> None:
        made.shown = {"metrics": {"predict_time": 0.5, "cost": cost(made.input["n"])}}

    return outcome


def fail(made: Made) -> None:
    made.status, made.error = "failed", "no such n"


async def run(
    api: BatchAPI,
    count: int,
    max_cost: float,
    price: Price = quarter,
    *,
    using: Callable[[Batch[Any]], Awaitable[object]] | None = None,
    **options: Any,
) -> tuple[Batch[Any], list[BatchResult[Any]], Exception | None]:
    """Run a batch of *count* inputs; returns it, its results, and the error that it raised."""
    async with (
        api.server() as server,
        Replicate(
            TOKEN, base_url=server.url, limits=Limits(enabled=False), prices={MODEL: price}
        ) as client,
    ):
        options = {"poll": QUICK, "batch_timeouts": SOON, "concurrency": 1000, **options}
        given = options.pop("inputs", None) or [{"n": number} for number in range(count)]
        batch = client.batch(MODEL, given, max_cost=max_cost, **options)
        if using is not None:
            await using(batch)
        return batch, *(await results_and_error(batch))


@pytest.mark.virtual_clock
async def test_equal_costs_are_never_exceeded(tmp_path: Path) -> None:
    api = BatchAPI(seconds=5)

    batch, results, error = await run(
        api, 2000, 25.1, journal=tmp_path / "batch.db", poll=COARSE, timeout=None
    )

    assert error is None
    assert len(results) == api.creates == 100
    assert all(result.ok for result in results)
    assert (batch.summary.stopped, batch.summary.cost) == ("max_cost", 25.0)
    assert api.made[1].created_at >= api.made[0].ends_at  # while no cost is known
    assert api.made[99].created_at < api.made[1].ends_at  # all others at once


@pytest.mark.parametrize(("max_cost", "created"), [(0, 0), (0.05, 1), (0.3, 3), (math.inf, 5)])
async def test_a_limit_may_be_reached_exactly(max_cost: float, created: int) -> None:
    api = BatchAPI(outcome=costing(lambda _: 0.1))

    batch, results, error = await run(api, 5, max_cost, by_metric)

    assert error is None
    assert len(results) == api.creates == created
    assert batch.summary.stopped == ("max_cost" if created < 5 else None)


@pytest.mark.virtual_clock
async def test_running_items_count_at_the_highest_cost_and_free_what_they_do_not_spend() -> None:
    api = BatchAPI(seconds=5, outcome=costing(lambda number: 0.25 if number else 1))

    def look(_event: str, _number: int) -> None:
        api.peak = max(api.peak, api.running())

    api.seen = look

    batch, results, _ = await run(api, 50, 4, by_metric, poll=COARSE)

    assert (api.peak, len(results)) == (3, 10)
    assert (batch.summary.cost, batch.summary.stopped) == (3.25, "max_cost")


async def test_runs_that_cost_nothing_do_not_tell_what_others_cost() -> None:
    api = BatchAPI(outcome=costing(lambda number: 0.0 if number < 3 else 1.0))

    batch, results, _ = await run(api, 50, 4, by_metric)

    assert len(results) == 7
    assert batch.summary.cost == 4.0


async def test_a_resume_counts_what_the_journal_knows(tmp_path: Path) -> None:
    api, journal = BatchAPI(), tmp_path / "batch.db"
    await run(api, 20, 1, journal=journal)
    assert api.creates == 4

    again, results, _ = await run(api, 20, 1, journal=journal)
    assert api.creates == 4
    assert (len(results), again.summary.resumed) == (4, 4)
    assert (again.summary.stopped, again.summary.cost) == ("max_cost", 0.0)

    more, results, _ = await run(api, 20, 1.5, journal=journal)
    assert (len(results), api.creates, more.summary.cost) == (6, 6, 0.5)


@pytest.mark.virtual_clock
async def test_predictions_of_an_earlier_run_count_before_they_are_read(tmp_path: Path) -> None:
    async def leave(batch: Batch[Any]) -> None:
        async with batch:
            await until(lambda: len(api.made) == 2)

    api, journal = BatchAPI(seconds=5, outcome=costing(lambda _: 1)), tmp_path / "batch.db"
    await run(api, 1, math.inf, by_metric, journal=journal, poll=COARSE)
    await run(api, 2, 9, by_metric, using=leave, journal=journal, on_exit="continue", poll=COARSE)
    inputs = [{"n": 5}, {"n": 6}, {"n": 1}]

    batch, results, _ = await run(api, 3, 3, by_metric, inputs=inputs, journal=journal, poll=COARSE)

    assert api.creates == 3
    assert sorted(str(result.input) for result in results) == ["{'n': 1}", "{'n': 5}"]
    assert batch.summary.stopped == "max_cost"


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.virtual_clock
async def test_what_earlier_runs_have_paid_is_handed_over_though_an_item_has_no_room(
    tmp_path: Path, ordered: bool
) -> None:
    async def leave(batch: Batch[Any]) -> None:
        async with batch:
            await until(lambda: len(api.made) == 42)

    api, journal = BatchAPI(seconds=5), tmp_path / "batch.db"
    inputs = [{"n": number} for number in range(43)]
    options: dict[str, Any] = {"journal": journal, "poll": COARSE}
    await run(api, 40, 10, **options)
    await run(api, 42, 20, using=leave, on_exit="continue", **options)
    inputs[0] = {"n": 99}

    options |= {"concurrency": 1, "ordered": ordered}
    batch, results, error = await run(api, 43, 10.5, inputs=inputs, **options)

    assert (error, batch.summary.stopped, api.creates) == (None, "max_cost", 42)
    assert [result.index for result in results] == list(range(1, 42))


async def test_refused_inputs_cost_nothing_now_and_in_a_resume(tmp_path: Path) -> None:
    api, journal = BatchAPI(), tmp_path / "batch.db"
    api.refuse = lambda number: problem(422, "no such n") if number <= 3 else None

    await run(api, 20, 1, journal=journal)
    assert len(api.made) == 4

    await run(api, 20, 1.25, journal=journal)
    assert len(api.made) == 5


async def test_predictions_that_failed_and_were_repeated_are_paid() -> None:
    def fail(made: Made) -> None:
        made.status, made.error = "failed", "Prediction interrupted (code: PA)"

    api = BatchAPI(outcome=fail)

    batch, results, _ = await run(api, 3, 1, retries=100)

    assert api.creates == batch.summary.usage.predictions == 4
    assert batch.summary.stopped == "max_cost"
    assert sum(result.attempts for result in results) == 4
    assert not any(result.ok for result in results)


async def test_a_resume_repeats_a_failure_for_which_there_was_no_room(tmp_path: Path) -> None:
    def first_fails(made: Made) -> None:
        if not api.made:
            made.status, made.error = "failed", "Prediction interrupted (code: PA)"

    api, journal = BatchAPI(outcome=first_fails), tmp_path / "batch.db"
    _, first, _ = await run(api, 1, 0.25, journal=journal, retries=1)
    _, again, _ = await run(api, 1, 0.25, journal=journal, retries=1)
    batch, more, _ = await run(api, 1, 0.5, journal=journal, retries=1)

    assert [result.ok for result in (*first, *again, *more)] == [False, False, True]
    assert (api.creates, batch.summary.stopped) == (2, None)


async def test_failures_that_are_not_repeated_stay_in_the_journal(tmp_path: Path) -> None:
    api, journal = BatchAPI(outcome=fail), tmp_path / "batch.db"
    await run(api, 4, 1, journal=journal)
    for _ in range(2):
        _, results, _ = await run(api, 4, 1, journal=journal, retry_failed=True)
        assert [result.error is not None for result in results] == [True] * len(results)
        assert len(results) > 0

    assert api.creates == 4


async def test_only_items_with_room_are_prepared() -> None:
    prepared: list[object] = []

    async def prepare(row: dict[str, Any]) -> dict[str, Any]:
        prepared.append(row)
        return row

    api = BatchAPI()
    await run(api, 30, 1, prepare=prepare)

    assert len(prepared) == api.creates == 4


async def test_items_that_are_finished_count_what_they_cost() -> None:
    api = BatchAPI()

    async def finish(_: BatchResult[Any]) -> None:
        await until(lambda: api.creates == 4)

    batch, results, _ = await run(api, 30, 1, finish=finish)

    assert (len(results), batch.summary.finished) == (4, 4)


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.virtual_clock
async def test_a_stop_ends_items_that_are_held(drain: bool) -> None:
    async def stop(batch: Batch[Any]) -> None:
        async with batch:
            await until(lambda: len(api.made) == 1)
            await asyncio.sleep(1)
            assert batch.progress.running == 1
            batch.stop(drain=drain)
            [each async for each in batch]

    api = BatchAPI(seconds=5)
    batch, _, error = await run(api, 200, 9, using=stop, poll=COARSE)

    assert error is None
    assert (api.creates, batch.summary.stopped) == (1, "stop")
    assert batch.summary.cost == 0.25


@pytest.mark.parametrize("returned", [-1, math.nan, math.inf, "0.1", None, True, 1j])
async def test_a_wrong_cost_stops_the_batch_and_loses_no_result(returned: Any) -> None:
    api = BatchAPI()

    batch, results, error = await run(api, 20, 10, lambda _: returned)

    assert isinstance(error, InvalidArgumentError)
    assert f"it returned {returned!r}, which is no cost" in str(error)
    assert "max_cost= cannot be kept" in str(error)
    assert [result.ok for result in results] == [True]
    assert (api.creates, batch.summary.stopped) == (1, "error")


@pytest.mark.virtual_clock
async def test_a_price_that_raises_loses_no_result_of_those_that_run(tmp_path: Path) -> None:
    def price(metrics: Mapping[str, Any]) -> float:
        return 1 / by_metric(metrics)

    def outcome(made: Made) -> None:
        costing(lambda number: int(number != 3))(made)
        made.ends_at += made.input["n"]

    api, journal = BatchAPI(seconds=5, outcome=outcome), tmp_path / "batch.db"

    batch, results, error = await run(
        api, 50, 100, price, concurrency=10, poll=COARSE, journal=journal
    )
    _, again, refused = await run(api, 50, 100, price, journal=journal, poll=COARSE)

    assert isinstance(error, InvalidArgumentError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert all(result.ok for result in results)
    assert len(results) == api.creates > 4
    assert batch.summary.stopped == "error"
    assert (again, type(refused)) == ([], InvalidArgumentError)


@pytest.mark.virtual_clock
async def test_predictions_that_time_out_are_paid() -> None:
    api = BatchAPI(seconds=500)

    batch, results, _ = await run(api, 30, 1, timeout=5, poll=COARSE)

    assert len(results) == api.creates == batch.summary.usage.predictions == 4
    assert (batch.summary.stopped, batch.summary.cost) == ("max_cost", 1.0)
    assert all(made.canceled for made in api.made)


async def test_a_lost_create_counts_though_no_cost_is_known() -> None:
    api = BatchAPI(lose=lambda number: number <= 6)

    batch, results, _ = await run(api, 30, 1)

    assert [result.uncertain for result in results] == [True]
    assert (api.creates, batch.summary.stopped) == (1, "max_cost")


async def test_failures_whose_repeat_was_not_sent_stay_in_the_journal(tmp_path: Path) -> None:
    api, journal = BatchAPI(outcome=fail), tmp_path / "batch.db"
    await run(api, 40, 10, journal=journal)
    for _ in range(3):
        await run(api, 40, 100, journal=journal, retry_failed=True, max_predictions=1)
        assert status(journal).failed == 40

    batch, _, _ = await run(api, 41, 10, journal=journal)
    assert (api.creates, batch.summary.stopped) == (43, "max_cost")


async def test_a_failure_whose_repeat_cannot_be_uploaded_stays_in_the_journal(
    tmp_path: Path,
) -> None:
    class NoUploads(BatchAPI):
        def _answer(self, request: Request) -> Answer:
            return problem(422) if request.path == "/v1/files" else super()._answer(request)

    api, journal, picture = NoUploads(outcome=fail), tmp_path / "batch.db", tmp_path / "a.png"
    picture.write_bytes(b"not really")
    inputs = [{"image": picture}]
    await run(api, 1, 1, inputs=inputs, journal=journal)

    _, (result,), error = await run(
        api, 1, 1, inputs=inputs, journal=journal, retry_failed=True, file_encoding="upload"
    )

    assert (type(result.error), error) == (UnprocessableEntityError, None)
    assert status(journal).usage.predictions == api.creates == 1


async def test_a_failure_without_the_metrics_of_a_price_is_free() -> None:
    def outcome(made: Made) -> None:
        made.status, made.shown = "failed", {"metrics": None}
        if made.input["n"] > 2:
            made.status = "succeeded"
            costing(lambda _: 1)(made)

    api = BatchAPI(outcome=outcome)

    batch, results, error = await run(api, 10, 4, by_metric)

    assert error is None
    assert (len(results), batch.summary.failed, batch.summary.cost) == (7, 3, 4.0)


@pytest.mark.parametrize("max_cost", [-0.1, "5", math.nan, [1]])
async def test_a_limit_that_is_no_number_is_refused(max_cost: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"max_cost=.* must be a number, 0 or more"):
        await run(BatchAPI(), 1, max_cost)


async def test_a_model_without_a_price_is_refused() -> None:
    version = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
    async with (
        LocalReplicate() as server,
        Replicate(server.api_token, base_url=server.url, prices={"a/b": quarter}) as client,
    ):
        for model in ("a/c", "a/c:" + version, version):
            with pytest.raises(InvalidArgumentError, match="needs the price of"):
                client.batch(model, [{}], max_cost=1)
        with pytest.raises(InvalidArgumentError, match="needs the price of a/c: give prices="):
            client.deployments.batch("a/c", [{}], max_cost=1)

        client.batch("a/b:" + version, [{}], max_cost=1)
        client.deployments.batch("a/b", [{}], max_cost=1)
