from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.connector import Connection

from replicate_async import BatchResult, BatchTimeouts, LimiterError, Replicate
from replicate_async.core.limits import BucketName
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, client_of
from tests.support.sentinel import TOKEN
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio

OFTEN = BatchTimeouts(outage=HANG, retry=0.001)


class OutLimiter:
    """A limiter that gives no permits for some of the requests of each kind."""

    def __init__(self, **out: range) -> None:
        self.out = out
        self.asked: Counter[str] = Counter()

    async def acquire(self, kind: BucketName) -> None:
        self.asked[kind] += 1
        if self.asked[kind] in self.out.get(kind, ()):
            raise LimiterError("The Redis of the limiter cannot be used.")

    def on_rate_limited(
        self, kind: BucketName, seconds: float, per_minute: float | None = None
    ) -> None: ...


async def results(
    api: BatchAPI, limiter: OutLimiter, number: int, **options: Any
) -> list[BatchResult[Any]]:
    async with api.server() as server, client_of(server.url) as plain:
        client = plain.with_options(limiter=limiter)
        inputs = ({"n": n} for n in range(number))
        batch = client.batch(MODEL, inputs, poll=QUICK, batch_timeouts=OFTEN, **options)
        return [result async for result in batch]


@pytest.mark.parametrize("journal", [True, False])
async def test_an_outage_of_the_limiter_fails_no_item(tmp_path: Path, *, journal: bool) -> None:
    """Creates, polls, listings and cancels, whichever of them get no permit."""
    api = BatchAPI(seconds=0.05)
    limiter = OutLimiter(create=range(4, 8), get=range(2, 6), other=range(1, 4))
    found = await results(api, limiter, 12, journal=tmp_path / "b.db" if journal else None)
    assert [result.error for result in found] == [None] * 12
    assert (api.twice(), len(api.made)) == ([], 12)
    assert not any(made.canceled for made in api.made)
    assert limiter.asked["create"] == 12 + 4
    assert limiter.asked["get"] >= 6


async def test_a_limiter_that_never_gives_a_permit_ends_the_batch() -> None:
    api = BatchAPI()
    limiter = OutLimiter(create=range(1, 1000))
    with pytest.raises(LimiterError, match="cannot be used"):
        await results(api, limiter, 12)
    assert api.made == []
    assert limiter.asked["create"] == 1


async def test_an_item_whose_create_the_limiter_cancels_has_an_error() -> None:
    class Cancelling(OutLimiter):
        async def acquire(self, kind: BucketName) -> None:
            try:
                await super().acquire(kind)
            except LimiterError:
                raise asyncio.CancelledError from None

    api = BatchAPI()
    found = await results(api, Cancelling(create=range(3, 5)), 6, max_predictions=5)

    errors = [str(result.error) for result in found if not result.ok]
    assert (len(found), len(errors), len(api.made)) == (6, 2, 4)
    assert all("cancelled its create before it was sent" in error for error in errors)


@pytest.mark.virtual_clock
async def test_creates_that_a_session_cancels_end_as_an_error(tmp_path: Path) -> None:
    class Cancelling(aiohttp.TCPConnector):
        async def connect(
            self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
        ) -> Connection:
            if req.method == "POST":
                raise asyncio.CancelledError
            return await super().connect(req, traces, timeout)

    api = BatchAPI()
    async with (
        api.server() as server,
        aiohttp.ClientSession(connector=Cancelling()) as session,
        Replicate(TOKEN, base_url=server.url, session=session) as client,
    ):
        batch = client.batch(
            MODEL, [{"n": 1}], journal=tmp_path / "b.db", poll=QUICK, batch_timeouts=SOON
        )
        found = [result async for result in batch]

    assert len(found) == 1
    assert "5 creates broke off" in str(found[0].error)
