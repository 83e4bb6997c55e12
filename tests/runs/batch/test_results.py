"""The queue of results, and the counters of a batch."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from replicate_async.runs.batch.result_queue import ResultQueue
from replicate_async.runs.batch.results import BatchResult
from replicate_async.runs.batch.stats import BatchStats
from replicate_async.schemas import Prediction

pytestmark = pytest.mark.anyio


def result(index: int) -> BatchResult[int]:
    return BatchResult(key=str(index), index=index, input={}, output=index)


async def test_a_queue_in_order_has_no_room_for_items_too_far_ahead() -> None:
    results: ResultQueue[int] = ResultQueue(room=2, ordered=True)
    results.put(1, result(1))
    assert results.has_room(1)
    assert not results.has_room(2)
    waiting = asyncio.create_task(results.get())
    await asyncio.sleep(0)
    results.put(0, result(0))
    assert (await waiting) == result(0)
    results.put(5, result(5))
    results.close(KeyError("end"))
    assert [await results.get(), await results.get()] == [result(1), result(5)]
    with pytest.raises(KeyError):
        await results.get()
    assert await results.get() is None


def test_rates_look_back_half_a_minute() -> None:
    now = 0.0
    tally = BatchStats(lambda: now, total=1000)
    assert tally.progress().eta is None
    assert tally.seconds == 0.0
    tally.began = 0.0
    for second in range(100):
        now = float(second)
        tally.count(result(second), replayed=False)
    progress = tally.progress()
    assert progress.rate == pytest.approx(1.0, abs=0.1)
    assert progress.eta == pytest.approx(900, rel=0.1)
    assert tally.summary().throughput == pytest.approx(1.0, abs=0.1)


def test_seconds_of_predicting_are_read_from_the_metrics() -> None:
    assert result(0).predict_seconds == 0.0
    made = msgspec.convert(
        {"id": "a", "status": "succeeded", "urls": {}, "metrics": {"predict_time": 2}}, Prediction
    )
    assert BatchResult[int](key="", index=0, input={}, prediction=made).predict_seconds == 2.0
