"""What the predictions of a batch used and cost, in its summary."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from replicate_async import BatchSummary, Limits, ModelUsage, Replicate
from replicate_async.core.usage import Price
from replicate_async.local import LocalReplicate
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, Made
from tests.support.embedded import until
from tests.support.sentinel import TOKEN

pytestmark = pytest.mark.anyio

TOKENS: Final = {"predict_time": 0.5, "input_token_count": 3, "output_token_count": 10}


def by_token(metrics: Mapping[str, Any]) -> float:
    return float(metrics["output_token_count"]) / 4


def with_tokens(made: Made) -> None:
    made.shown = {"metrics": TOKENS}


async def summary_of(
    api: BatchAPI, count: int, *, price: Price | None = by_token, **options: Any
) -> BatchSummary:
    prices = {} if price is None else {MODEL: price}
    async with (
        api.server() as server,
        Replicate(
            TOKEN, base_url=server.url, limits=Limits(enabled=False), prices=prices
        ) as client,
    ):
        batch = client.batch(
            MODEL, [{"n": n} for n in range(count)], poll=QUICK, batch_timeouts=SOON, **options
        )
        assert all([result.ok async for result in batch])
        assert batch.summary.usage.predictions == client.usage.total.predictions
        assert batch.summary.cost == client.usage.total.cost
        return batch.summary


async def test_the_summary_has_the_usage_and_the_cost() -> None:
    summary = await summary_of(BatchAPI(outcome=with_tokens), 4)

    assert summary.usage == ModelUsage(
        predictions=4, predict_seconds=2.0, input_tokens=12, output_tokens=40, cost=10.0
    )
    assert (summary.cost, summary.predict_seconds) == (10.0, 2.0)
    assert "2.0 predict seconds, 12 input tokens, 40 output tokens, cost 10.00)" in str(summary)


async def test_without_a_price_the_cost_is_not_known() -> None:
    summary = await summary_of(BatchAPI(outcome=with_tokens), 2, price=None)

    assert (summary.usage.output_tokens, summary.cost) == (20, None)
    assert "cost" not in str(summary)


async def test_a_failed_prediction_that_was_repeated_is_paid_too() -> None:
    def first_fails(made: Made) -> None:
        made.shown = {"metrics": TOKENS}
        if len(api.made) == 0:
            made.status, made.error = "failed", "Prediction interrupted (code: PA)"

    api = BatchAPI(outcome=first_fails)

    summary = await summary_of(api, 1, retries=1)

    assert (summary.ok, summary.retried) == (1, 1)
    assert (summary.usage.predictions, summary.cost) == (2, 5.0)


async def test_results_of_the_journal_are_not_paid_again(tmp_path: Path) -> None:
    api, journal = BatchAPI(outcome=with_tokens), tmp_path / "batch.db"
    await summary_of(api, 3, journal=journal)

    summary = await summary_of(api, 5, journal=journal)

    assert (summary.ok, summary.resumed) == (5, 3)
    assert (summary.usage.predictions, summary.cost) == (2, 5.0)


async def test_a_prediction_that_was_found_in_the_list_is_counted(tmp_path: Path) -> None:
    api = BatchAPI(outcome=with_tokens, lose=lambda number: number == 2)

    summary = await summary_of(api, 3, journal=tmp_path / "batch.db")

    assert (summary.usage.predictions, summary.cost, api.creates) == (3, 7.5, 3)


async def test_a_prediction_that_leaving_cancels_is_counted() -> None:
    def endless(made: Made) -> None:
        with_tokens(made)
        made.ends_at += 1000 * (made.input["n"] == 1)

    api = BatchAPI(outcome=endless)
    async with (
        api.server() as server,
        Replicate(TOKEN, base_url=server.url, prices={MODEL: by_token}) as client,
        client.batch(MODEL, [{"n": 0}, {"n": 1}], poll=QUICK, concurrency=1) as batch,
    ):
        await anext(batch)
        await until(api.running)

    assert batch.summary.usage.predictions == 2


@pytest.fixture
async def paid() -> AsyncIterator[Replicate]:
    def add(a: int, b: int = 1) -> int:
        return a + b

    prices: dict[str, Price] = {"dev/adder": lambda _: 0.5, "dev/add": lambda _: 0.25}
    async with (
        LocalReplicate(models={"dev/add": add}, username="dev") as server,
        Replicate(server.api_token, base_url=server.url, prices=prices) as client,
    ):
        yield client


async def test_a_deployment_has_the_price_under_its_own_name(paid: Replicate) -> None:
    model = await paid.models.get("dev/add")
    assert model.latest_version is not None
    await paid.deployments.create(
        "adder",
        model="dev/add",
        version=model.latest_version.id,
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    )
    batch = paid.deployments.batch("dev/adder", [{"a": 1}, {"a": 2}])
    limited = paid.deployments.batch("dev/adder", [{"a": a} for a in range(9)], max_cost=1.5)
    of_the_model = paid.batch(f"dev/add:{model.latest_version.id}", [{"a": 1}])
    by_id = paid.batch(model.latest_version.id, [{"a": 1}])

    assert sorted([result.unwrap() async for result in batch]) == [2, 3]
    assert [result.unwrap() async for result in of_the_model] == [2]
    assert [result.unwrap() async for result in by_id] == [2]

    assert len([result.unwrap() async for result in limited]) == 3

    assert batch.summary.cost == 1.0
    assert (limited.summary.cost, limited.summary.stopped) == (1.5, "max_cost")
    assert of_the_model.summary.cost == by_id.summary.cost == 0.25
