"""Polls that fail while a run is queued, or later: a paid run is not given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from replicate_async import Limits, Replicate, Timeout, WaitTimeout
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction, problem
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Ending, Request

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock]

TROUBLE: Final[dict[str, Callable[[], Answer]]] = {
    "502": lambda: problem(502),
    "429": lambda: problem(429),
    "403": lambda: problem(403),
    "reset": lambda: Answer(cut=0, ending=Ending.RESET),
    "silence": lambda: Answer(cut=0, ending=Ending.HANG),
    "a page": lambda: Answer(body=b"<html>Just a moment</html>"),
}


class Troubled(FaultServer):
    """An API whose runs are queued and work for so many seconds, and are hidden for a while.

    From *begin* to *end*, by the clock of the loop since the run was created, polls get *trouble*.
    """

    def __init__(
        self,
        trouble: Callable[[], Answer],
        *,
        begin: float,
        end: float,
        queue: float = 1.0,
        work: float = 2.0,
    ) -> None:
        super().__init__(self._answer)
        self.trouble = trouble
        self.begin, self.end = begin, end
        self.queue, self.work = queue, work
        self.created = 0.0
        self.polled: list[float] = []
        self.canceled: list[float] = []

    def client(self) -> Replicate:
        return Replicate(
            TOKEN,
            base_url=self.url,
            timeout=Timeout(read=10.0),
            limits=Limits(enabled=False),
        )

    @property
    def now(self) -> float:
        """Seconds since the run was created."""
        return asyncio.get_running_loop().time() - self.created

    def _answer(self, request: Request) -> Answer:
        if request.path.endswith("/cancel"):
            self.canceled.append(self.now)
            return json_answer(prediction(self.url, id="p", status="canceled"))
        if request.method == "POST":
            self.created = asyncio.get_running_loop().time()
            return json_answer(prediction(self.url, id="p", status="starting"), 201)
        self.polled.append(self.now)
        if self.begin <= self.now < self.end:
            return self.trouble()
        working = self.now >= self.queue
        shown = "succeeded" if self.now >= self.queue + self.work else "processing"
        return json_answer(prediction(self.url, id="p", status=shown if working else "starting"))


@pytest.mark.parametrize("kind", TROUBLE)
async def test_polls_that_fail_while_a_run_is_queued_use_up_no_time_of_work(kind: str) -> None:
    """Nothing is known of the run for longer than it may work, which it did not begin yet."""
    server = Troubled(TROUBLE[kind], begin=0.0, end=12.0, queue=11.0)
    async with server, server.client() as client:
        assert await client.run("acme/echo", {}, timeout=3.0) == "Hello."

    assert server.canceled == []


@pytest.mark.parametrize("kind", ["502", "silence"])
async def test_the_work_counts_from_the_first_answer_that_shows_it(kind: str) -> None:
    """The run began unseen; it has the whole time from when it is seen to work."""
    server = Troubled(TROUBLE[kind], begin=0.5, end=9.0, queue=1.0, work=11.0)
    async with server, server.client() as client:
        assert await client.run("acme/echo", {}, timeout=5.0) == "Hello."

    assert server.canceled == []


@pytest.mark.parametrize("queue_timeout", [3600.0, None])
@pytest.mark.parametrize("kind", ["502", "429", "reset", "silence", "a page"])
async def test_polls_that_fail_for_ever_end_a_run_soon_after_its_timeout(
    kind: str, queue_timeout: float | None
) -> None:
    async with Troubled(TROUBLE[kind], begin=0.0, end=1e9) as server, server.client() as client:
        with pytest.raises(WaitTimeout, match="The last poll failed") as caught:
            await client.run("acme/echo", {}, timeout=3.0, queue_timeout=queue_timeout)

    assert caught.value.bound == "timeout"
    assert caught.value.prediction is not None
    assert len(server.canceled) == 1
    assert 33.0 <= server.canceled[0] < 36.0


async def test_polls_that_fail_do_not_prolong_the_time_in_the_queue() -> None:
    server = Troubled(TROUBLE["502"], begin=0.0, end=1e9)
    async with server, server.client() as client:
        with pytest.raises(WaitTimeout) as caught:
            await client.run("acme/echo", {}, timeout=3.0, queue_timeout=8.0)

    assert caught.value.bound == "queue_timeout"
    assert 8.0 <= server.canceled[0] < 10.0


async def test_a_batch_outlasts_polls_that_fail_while_an_item_is_queued() -> None:
    server = Troubled(TROUBLE["502"], begin=0.0, end=12.0, queue=11.0)
    async with server, server.client() as client:
        batch = client.batch("acme/echo", [{"text": "Alice"}], timeout=3.0)
        assert [result.output async for result in batch] == ["Hello."]

    assert server.canceled == []


def overloaded(seconds: int) -> Callable[[], Answer]:
    return lambda: problem(503, retry_after=str(seconds))


@pytest.mark.parametrize("seconds", [20, 3600])
async def test_a_retry_after_is_cut_to_the_time_limit_of_the_wait(seconds: int) -> None:
    """The run has ended before its time is up, and is seen to have."""
    server = Troubled(overloaded(seconds), begin=0.0, end=1.0, queue=0.0, work=5.0)
    async with server, server.client() as client:
        made = await client.predictions.create("acme/echo", {})
        found = await client.predictions.wait(made, timeout=100.0, queue_timeout=10.0)

    assert found.status == "succeeded"
    assert len(server.polled) == 2
    assert 8.0 <= server.polled[-1] < 10.0


@pytest.mark.parametrize("seconds", [20, 3600])
async def test_a_working_run_is_polled_before_its_timeout(seconds: int) -> None:
    server = Troubled(overloaded(seconds), begin=0.5, end=2.0, queue=0.0, work=5.0)
    async with server, server.client() as client:
        made = await client.predictions.create("acme/echo", {})
        assert (await client.predictions.wait(made, timeout=10.0)).status == "succeeded"

    assert server.polled[-1] < 11.0


async def test_a_long_wait_obeys_a_server_that_names_one_up_to_a_minute() -> None:
    server = Troubled(overloaded(3600), begin=0.0, end=1.0, queue=0.0, work=5.0)
    async with server, server.client() as client:
        assert await client.run("acme/echo", {}) == "Hello."

    assert len(server.polled) == 2
    assert 60.0 <= server.polled[-1] < 62.0


async def test_paused_polls_are_probed_before_a_time_limit() -> None:
    """After several failures one poll is tried for all; it is put off no further either."""
    made: list[str] = []
    server = Troubled(overloaded(3600), begin=0.0, end=3.0, queue=0.0, work=5.0)
    answer_as_one = server.handler

    def answer(request: Request) -> Answer:
        whole = answer_as_one(request)
        if request.method == "POST":
            made.append(f"p{len(made)}")
            return replace(whole, body=whole.body.replace(b'"p"', f'"{made[-1]}"'.encode()))
        asked = request.path.rpartition("/")[2]
        return replace(whole, body=whole.body.replace(b'"p"', f'"{asked}"'.encode()))

    server.handler = answer
    async with server, server.client() as client:
        runs = [await client.predictions.create("acme/echo", {}) for _ in range(10)]
        waits = [client.predictions.wait(run, timeout=20.0, queue_timeout=20.0) for run in runs]
        found = await asyncio.gather(*waits)

    assert {run.status for run in found} == {"succeeded"}
