"""What the runs of a client used, by model, and what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from replicate_async import (
    InvalidArgumentError,
    ModelUsage,
    Poll,
    Prediction,
    PredictionFailed,
    Replicate,
    Training,
    WaitTimeout,
)
from replicate_async.core.usage import UsageCounter
from replicate_async.local import LocalReplicate
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


def half(number: int = 2) -> int:
    return 1 // number


def a_quarter(_: Mapping[str, Any]) -> float:
    return 0.25


@pytest.fixture
async def client() -> AsyncIterator[Replicate]:
    prices = {"acme/half": a_quarter}
    async with (
        LocalReplicate(models={"acme/half": half}) as server,
        Replicate(server.api_token, base_url=server.url, prices=prices) as connected,
    ):
        yield connected


async def test_runs_streams_batches_and_held_creates_count_once_each(client: Replicate) -> None:
    await client.run("acme/half")
    with pytest.raises(PredictionFailed):
        await client.run("acme/half", {"number": 0})
    held = await client.predictions.create("acme/half", wait=True)
    await client.predictions.wait(held)
    await client.predictions.wait(held.id)
    results = [each async for each in client.batch("acme/half", [{"number": 3}, {"number": 4}])]
    async with client.stream("local/storyteller", {"prompt": "A fox", "max_tokens": 5}) as stream:
        await stream.final()

    assert all(result.ok for result in results)
    assert set(client.usage) == {"acme/half", "local/storyteller"}
    assert client.usage["acme/half"].predictions == 5
    assert client.usage["acme/half"].cost == 5 * 0.25
    assert client.usage["local/storyteller"].predictions == 1
    assert client.usage["local/storyteller"].cost is None
    assert client.usage.total.predictions == 6
    assert client.usage.total.cost == 5 * 0.25
    assert client.usage.total.predict_seconds > 0


async def test_waits_that_share_a_run_count_it_once(client: Replicate) -> None:
    created = await client.predictions.create("acme/half", wait=False)

    await asyncio.gather(*(client.predictions.wait(created) for _ in range(5)))

    assert client.usage["acme/half"].predictions == 1


async def test_a_run_that_was_summed_up_is_not_counted_again(client: Replicate) -> None:
    held = await client.predictions.create("acme/half", wait=True)
    assert client.usage["acme/half"].predictions == 1

    await client.predictions.wait(held.id)

    assert client.usage["acme/half"].predictions == 1


async def test_a_canceled_run_counts_with_the_time_that_it_ran(client: Replicate) -> None:
    began = asyncio.Event()

    def started(seen: Prediction) -> None:
        if seen.status == "processing":
            began.set()

    running = asyncio.create_task(
        client.run("local/slow", {"seconds": 60}, on_update=started, poll=Poll(first=0.01))
    )
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert client.usage["local/slow"].predictions == 1
    assert client.usage["local/slow"].predict_seconds > 0


@pytest.mark.parametrize("way", ["timeout", "stream", "cancel", "training"])
async def test_each_way_of_canceling_a_run_counts_it_once(client: Replicate, way: str) -> None:
    slow, given = "local/slow", {"seconds": 60}
    if way == "timeout":
        with pytest.raises(WaitTimeout):
            await client.run(slow, given, timeout=0.05, queue_timeout=0.05)
    elif way == "stream":
        async with client.stream(slow, given):
            pass
    elif way == "cancel":
        waiting = asyncio.create_task(
            client.predictions.wait(run := await client.predictions.create(slow, given))
        )
        for _ in range(2):
            await client.predictions.cancel(run)
        await waiting
    else:
        mine = f"{(await client.account.get()).username}/mine"
        await client.models.create(mine, visibility="private", hardware="cpu")
        training = await client.trainings.create(
            "local/storyteller", {"text": "A fox. " * 900}, destination=mine
        )
        await client.trainings.cancel(training)

    assert client.usage.total.predictions == 1


async def test_another_token_has_a_usage_of_its_own(client: Replicate) -> None:
    other = client.with_options(api_token=TOKEN)
    same = client.with_options(timeout=9)

    await client.run("acme/half")

    assert len(other.usage) == 0
    assert same.usage["acme/half"].cost == 0.25


METRICS: dict[str, Any] = {
    "predict_time": 1.5,
    "input_token_count": 12,
    "output_token_count": 30.0,
    "image_output_count": 2,
    "image_count": 9,
}


async def test_tokens_and_images_are_summed() -> None:
    def answer(request: Request) -> Answer:
        base = f"http://{request.header('Host')}/v1"
        return json_answer(prediction(base, status="succeeded") | {"metrics": METRICS}, 201)

    async with FaultServer(answer) as server, Replicate("r8_x", base_url=server.url) as client:
        created = await client.predictions.create("acme/echo", {})

        assert client.usage.total == ModelUsage(
            predictions=1, predict_seconds=1.5, input_tokens=12, output_tokens=30, images=2
        )
        assert list(client.usage) == [created.model]


@pytest.mark.parametrize(
    "metrics",
    [None, {}, {"predict_time": None}, {"predict_time": "1"}, {"predict_time": True},
     {"predict_time": float("nan")}, {"predict_time": -1}, {"input_token_count": [1]}],
)  # fmt: skip
def test_metrics_that_say_nothing_count_nothing(metrics: dict[str, Any] | None) -> None:
    def price(found: Mapping[str, float]) -> float:
        return found["predict_time"] * 2.0

    counter = UsageCounter({"a/b": price})
    runs: dict[str, dict[str, Any] | None] = {"x": {"predict_time": 1.0}, "y": metrics}
    for run_id, found in runs.items():
        counter.count(run_id, Training(id=run_id, status="succeeded", model="a/b", metrics=found))

    used = counter.usage()["a/b"]
    assert (used.predictions, used.predict_seconds, used.input_tokens) == (2, 1.0, 0)
    assert used.cost is not None


async def test_a_price_that_raises_breaks_no_wait(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Mapping[str, Any]) -> float:
        return 1 / 0

    async with (
        LocalReplicate(models={"acme/half": half}) as server,
        Replicate(server.api_token, base_url=server.url, prices={"acme/half": broken}) as client,
    ):
        assert [r.output async for r in client.batch("acme/half", [{"number": 1}] * 300)] == [
            1
        ] * 300

        assert client.usage["acme/half"].predictions == 300
        assert client.usage["acme/half"].cost == 0.0
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("prices", [{"a/b": 0.5}, {"no-slash": len}])
def test_prices_that_are_no_functions_are_refused(prices: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="function of a run's metrics"):
        Replicate("r8_x", prices=prices)
