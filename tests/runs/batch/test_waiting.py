"""Failing polls."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_async import AuthenticationError, BatchResult, Prediction, WaitTimeout
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, Made, client_of
from tests.support.replies import problem
from tests.support.wire import Answer

pytestmark = pytest.mark.anyio


async def collect(api: BatchAPI, count: int, **options: Any) -> list[BatchResult[Any]]:
    async with api.server() as server, client_of(server.url) as client:
        given = [{"n": number} for number in range(count)]
        batch = client.batch(MODEL, given, poll=QUICK, batch_timeouts=SOON, **options)
        return [result async for result in batch]


@pytest.mark.virtual_clock
async def test_a_prediction_is_not_fetched_right_after_its_create() -> None:
    api = BatchAPI(seconds=5.0)
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, [{"n": number} for number in range(100)])
        results = [result async for result in batch]

    assert all(result.ok for result in results)
    assert api.requests["GET predictions"] < 100  # most are answered by pages of the list


@pytest.mark.slow  # half a minute of refusals
async def test_a_token_revoked_while_waiting_ends_the_batch_and_cancels_nothing() -> None:
    api = BatchAPI(seconds=0.05, getting=lambda _: problem(401))
    with pytest.raises(AuthenticationError, match="was not canceled") as caught:
        await collect(api, 3)

    assert isinstance(caught.value.prediction, Prediction)
    assert not any(made.canceled for made in api.made)


@pytest.mark.slow  # half a minute of refusals
async def test_a_prediction_that_is_refused_for_long_is_an_error_of_its_item() -> None:
    api = BatchAPI(seconds=0.05)
    api.getting = lambda made: problem(403) if made.input["n"] == 0 else None

    results = await collect(api, 3)

    assert sorted(result.ok for result in results) == [False, True, True]
    [refused] = [result for result in results if not result.ok]
    assert refused.prediction is not None
    assert "was not canceled" in str(refused.error)
    assert not any(made.canceled for made in api.made)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 429, 500])
async def test_one_poll_that_fails_ends_neither_its_item_nor_the_batch(status: int) -> None:
    api = BatchAPI(seconds=0.01)
    failed: list[Made] = []

    def once(made: Made) -> Answer | None:
        if failed or made.input["n"] != 1:
            return None
        failed.append(made)
        return problem(status)

    api.getting = once
    results = await collect(api, 4, concurrency=1)  # by itself, and not by a page of the list

    assert failed
    assert sorted(result.index for result in results if result.ok) == [0, 1, 2, 3]
    assert not any(made.canceled for made in api.made)
    assert not api.twice()


async def test_an_item_that_waits_in_the_queue_too_long_is_cancelled_and_an_error() -> None:
    api = BatchAPI(seconds=60.0, outcome=lambda made: made.shown.update(status="starting"))

    results = await collect(api, 2, queue_timeout=0.05)

    errors = [result.error for result in results]
    assert all(isinstance(error, WaitTimeout) for error in errors)
    assert {str(error).partition("; ")[2] for error in errors} == {
        "it was canceled. To give it more time, pass a longer queue_timeout=."
    }
    assert all(made.canceled for made in api.made)
