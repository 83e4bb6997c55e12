"""Answers about another run than the one that was asked for, as a mixed-up cache gives them."""

from __future__ import annotations

from typing import Final

import pytest

from replicate_async import Limits, Poll, Replicate, Timeout, WaitTimeout
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction, stream_answer, training
from tests.support.sentinel import TOKEN
from tests.support.waiting import HANG
from tests.support.wire import Answer, Request

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock]

QUICK: Final = Poll(first=0.001, starting=0.001, processing=0.001)
SELDOM: Final = Poll(first=60, starting=60, processing=60)
OTHER: Final = {"id": "other", "output": "not ours"}


class MixedUp(FaultServer):
    """An API that answers the first *wrong* requests about a run with the end of another.

    *status* is that of the runs when they are created, *stream* whether they have a stream.
    """

    def __init__(self, wrong: float, *, status: str = "starting", stream: bool = False) -> None:
        super().__init__(self._answer)
        self.wrong = wrong
        self.status = status
        self.stream = stream
        self.made = 0
        self.looks = 0
        self.cancels = 0

    def client(self) -> Replicate:
        return Replicate(
            TOKEN,
            base_url=self.url,
            timeout=Timeout(read=HANG, connect=HANG),
            limits=Limits(enabled=False),
        )

    def _answer(self, request: Request) -> Answer:
        kind, run_id, *rest = [*request.path.removeprefix("/v1/").split("/"), ""]
        if kind == "streams":
            return stream_answer(b"")
        if request.method == "POST" and rest[:1] != ["cancel"]:
            self.made += 1
            return json_answer(self._shown(f"run{self.made}", self.status), 201)
        if not run_id:
            return json_answer({"next": None, "previous": None, "results": []})
        self.looks += 1
        self.cancels += rest[:1] == ["cancel"]
        body = training(self.url, status="succeeded") if kind == "trainings" else None
        shown = (body or self._shown(run_id, "succeeded")) | {"id": run_id}
        return json_answer(shown | OTHER if self.looks <= self.wrong else shown)

    def _shown(self, run_id: str, status: str) -> dict[str, object]:
        stream = f"{self.url}/streams/{run_id}" if self.stream else None
        return prediction(self.url, id=run_id, status=status, output=f"of {run_id}", stream=stream)


@pytest.mark.parametrize("wrong", [1, 3, 7])
async def test_a_run_does_not_end_with_the_output_of_another(wrong: int) -> None:
    async with MixedUp(wrong) as server, server.client() as client:
        assert await client.run("acme/echo", {}, poll=QUICK) == "of run1"

    assert server.looks == wrong + 1
    assert server.cancels == 0


async def test_a_wait_for_a_training_does_not_end_with_another() -> None:
    async with MixedUp(2) as server, server.client() as client:
        assert (await client.trainings.wait("mine", poll=QUICK)).id == "mine"

    assert server.looks == 3


async def test_the_changes_of_another_run_are_not_shown() -> None:
    async with MixedUp(2) as server, server.client() as client:
        seen = [change.id async for change in client.predictions.watch("mine", poll=QUICK)]

    assert seen == ["mine"]


async def test_a_batch_gives_each_input_its_own_output() -> None:
    async with MixedUp(4) as server, server.client() as client:
        inputs = [{"text": text} for text in ("a", "b", "c")]
        batch = client.batch("acme/echo", inputs, poll=QUICK, concurrency=3)
        outputs = [str(result.output) async for result in batch]

    assert sorted(outputs) == ["of run1", "of run2", "of run3"]
    assert server.cancels == 0


async def test_a_wait_whose_every_poll_shows_another_run_ends_in_its_time() -> None:
    async with MixedUp(1e9) as server, server.client() as client:
        with pytest.raises(WaitTimeout) as caught:
            await client.predictions.wait("mine", timeout=5.0, queue_timeout=60.0)

    assert caught.value.prediction is None
    assert "was asked about mine and answered about another run" in caught.value.poll_error


async def test_a_cancel_answered_with_another_run_brings_no_output() -> None:
    async with MixedUp(1, status="processing") as server, server.client() as client:
        with pytest.raises(WaitTimeout, match="canceling it failed"):
            await client.run("acme/echo", {}, timeout=0, poll=SELDOM)

    assert server.cancels == 1


async def test_a_stream_does_not_end_with_the_output_of_another() -> None:
    async with (
        MixedUp(1, status="processing", stream=True) as server,
        server.client() as client,
        client.stream("acme/echo", {}, poll=QUICK) as stream,
    ):
        assert "".join([text async for text in stream.text()]) == "of run1"
        assert (await stream.final()).id == "run1"
