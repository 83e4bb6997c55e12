"""How many calls our own code makes for a unit of work: a cost that no noisy machine blurs.

Counted are the calls of functions of the package and those that they make into C, each resumption
of a coroutine as one. A ceiling is what was counted when it was set, and a little. It may be
lowered at any time; raising it needs a reason.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final

import pytest

import replicate_async
from replicate_async import Limits, Poll, Prediction, Replicate
from replicate_async.runs.waiting.listed_run import RawPage
from replicate_async.runs.waiting.run_api import RunApi
from replicate_async.runs.waiting.tracker import RunTracker
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits
from replicate_async.schemas import PredictionURLs
from tests.support import replies
from tests.support.fault_server import FaultServer
from tests.support.sentinel import TOKEN
from tests.support.virtual_time import run_virtually
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

PACKAGE: Final = str(Path(replicate_async.__file__).parent)
HIGH: Final = Limits(creates=6e7, gets=6e7, others=6e7)
BURST: Final = 1_000
DRIP: Final = 25
MOST: Final = {
    "get": 51,
    "create": 76,
    "run": 164,
    "page of 100": 156,
    "stream": 250,
    "burst": 1.4,
    "drip": 43,
    "create and wait": 480,
    "look, 100 waits": 50,
    "look, 1,000 waits": 33,
}
LOOKS: Final = 3

Work = Callable[[], Awaitable[object]]


class Calls:
    """Counts the calls within the package while it is the profiler of this thread."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event in {"call", "c_call"} and frame.f_code.co_filename.startswith(PACKAGE):
            self.calls += 1


async def calls_of(work: Work) -> int:
    """Return the calls that *work* needs once everything it meets is warm.

    The least of several: an answer that comes in two pieces resumes the waiting task twice.
    """
    counts: list[int] = []
    before = sys.getprofile()
    for _ in range(6):
        counter = Calls()
        sys.setprofile(counter)
        try:
            await work()
        finally:
            sys.setprofile(before)
        counts.append(counter.calls)
        await asyncio.sleep(0)
    return min(counts)


looks: Counter[str] = Counter()


def service(request: Request) -> Answer:
    """Answer as the service does, with pages of 100, and streams in bursts or event by event.

    A run that is waited for has ended when it is looked at for the third time.
    """
    base = f"http://{request.header('Host')}/v1"
    left = {"ratelimit_remaining": "59999999", "ratelimit_reset": "1"}
    if request.path == "/v1/burst":
        return replies.stream_answer(replies.events(*[("output", " word")] * BURST))
    if request.path == "/v1/drip":
        body = replies.events(*[("output", " word")] * DRIP)
        return replace(replies.stream_answer(body), step=len(body) // DRIP, pause=0.002)
    if request.path == "/v1/predictions" and request.method == "GET":
        page = [replies.prediction(base, id=f"{at:026d}") for at in range(100)]
        return replies.json_answer(replies.page(*page), 200, **left)
    if request.method == "POST":
        status = "succeeded" if request.header("Prefer") else "starting"
        return replies.json_answer(replies.prediction(base, status=status), 201, **left)
    if request.path.startswith("/v1/predictions/stream-"):
        asked = request.path.rpartition("/")[2]
        stream = f"{base}/{request.path.rpartition('-')[2]}"
        made = replies.prediction(base, id=asked, status="processing", stream=stream)
        return replies.json_answer(made, 200, **left)
    looks[request.path] += 1
    over = "waited-for" not in request.path or looks[request.path] % LOOKS == 0
    asked = request.path.rpartition("/")[2]
    found = replies.prediction(base, id=asked, status="succeeded" if over else "processing")
    return replies.json_answer(found, 200, **left)


@pytest.fixture(autouse=True)
def without_log() -> Iterator[None]:
    """Log no requests: other tests look for secrets in the log, at any level."""
    log = logging.getLogger("replicate_async")
    log.setLevel(logging.WARNING)
    yield
    log.setLevel(logging.NOTSET)


@pytest.fixture
async def client() -> AsyncIterator[Replicate]:
    async with (
        FaultServer(service) as server,
        Replicate(TOKEN, base_url=server.url, limits=HIGH) as connected,
    ):
        yield connected


async def test_a_fetch_makes_few_calls(client: Replicate) -> None:
    calls = await calls_of(lambda: client.predictions.get(replies.PREDICTION_ID))
    assert calls <= MOST["get"]


async def test_a_create_makes_few_calls(client: Replicate) -> None:
    calls = await calls_of(lambda: client.predictions.create(replies.VERSION_ID, {"text": "Alice"}))
    assert calls <= MOST["create"]


async def test_a_run_of_a_plain_name_makes_few_calls(client: Replicate) -> None:
    calls = await calls_of(lambda: client.run(replies.VERSION_ID, {"text": "Alice"}, wait=1))
    assert calls <= MOST["run"]


async def test_creating_and_waiting_makes_few_calls(client: Replicate) -> None:
    pace = Poll(first=0.001, starting=0.001, processing=0.001)

    async def work() -> None:
        await client.predictions.create(replies.VERSION_ID, {"text": "Alice"})
        ended = await client.predictions.wait("waited-for", poll=pace)
        assert ended.done

    assert await calls_of(work) <= MOST["create and wait"]


@pytest.mark.parametrize("waits", [100, 1_000])
def test_a_look_makes_few_calls_besides_its_request(waits: int) -> None:
    pace = Poll(first=0.5, starting=0.5, processing=0.5)
    asked = 0

    async def get(run_id: str) -> Prediction:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return going[run_id]

    async def no_page(_after: object, _before: object) -> RawPage:
        raise AssertionError("these runs are on no page")

    async def main() -> float:
        source = RunApi("prediction", Prediction, get, no_page, windowed=True)
        together = PredictionWaits(RunTracker(jitter=Random(1).random), source)
        waiting = [
            asyncio.ensure_future(together.wait(f"{at}", WaitOptions(poll=pace)))
            for at in range(waits)
        ]
        await asyncio.sleep(3.0)
        before, counter, begun = sys.getprofile(), Calls(), asked
        sys.setprofile(counter)
        try:
            await asyncio.sleep(3.0)
        finally:
            sys.setprofile(before)
        calls = counter.calls / (asked - begun)
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        return calls

    going = {
        f"{at}": Prediction(id=f"{at}", status="processing", urls=PredictionURLs())
        for at in range(waits)
    }
    assert run_virtually(main()) <= MOST[f"look, {waits:,} waits"]


async def test_a_listed_item_costs_little_more_than_being_handed_over(client: Replicate) -> None:
    async def work() -> None:
        assert [item.status async for item in client.predictions.list()] == ["succeeded"] * 100

    assert await calls_of(work) <= MOST["page of 100"]


@pytest.mark.parametrize(("way", "events"), [("burst", BURST), ("drip", DRIP)])
async def test_a_streamed_event_makes_few_calls(client: Replicate, way: str, events: int) -> None:
    async def work() -> None:
        async with client.predictions.stream(f"stream-{way}") as stream:
            assert len([event async for event in stream]) == events + 1

    # Without the calls that open and close a stream.
    assert (await calls_of(work) - MOST["stream"]) / events <= MOST[way]
