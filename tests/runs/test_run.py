"""Running a model to its end: outputs, errors, and predictions that are cancelled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest

from replicate_async import (
    APIStatusError,
    AuthenticationError,
    DecodeError,
    InvalidArgumentError,
    NotFoundError,
    OutputRemovedError,
    Poll,
    Prediction,
    PredictionAborted,
    PredictionCanceled,
    PredictionError,
    PredictionFailed,
    Replicate,
    UnprocessableEntityError,
    WaitTimeout,
)
from replicate_async.core.listing_plan import ListingPlan
from replicate_async.core.problem import parse
from replicate_async.errors import status_error
from replicate_async.local import ConcatenateIterator, LocalReplicate, Settings
from replicate_async.local.store.files import OUTPUTS
from replicate_async.runs.run import run_to_end
from replicate_async.runs.waiting.tracked_run import TrackedRun
from replicate_async.runs.waiting.wait_errors import refusal
from tests.support.embedded import Cold, embedded, until
from tests.support.fault_server import FaultServer, script
from tests.support.replies import json_answer, prediction, problem
from tests.support.sentinel import TOKEN
from tests.support.virtual_api import VirtualAPI
from tests.support.waiting import HANG
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

QUICK: Final = Poll(first=0.01)


class Gate:
    """A model that a test lets in and out."""

    def __init__(self, server: LocalReplicate) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.stopped = asyncio.Event()

        @server.model("acme/gate", official=True)
        async def gate(text: str = "done") -> str:
            self.entered.set()
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.stopped.set()
                raise
            return text


@pytest.fixture
def gate(server: LocalReplicate) -> Gate:
    return Gate(server)


async def statuses(client: Replicate) -> list[str]:
    return [item.status async for item in client.predictions.list()]


async def test_the_output_is_returned_complete(client: Replicate) -> None:
    assert await client.run("local/echo", {"value": {"a": [1, None]}}) == {"a": [1, None]}
    assert await client.run("replicate/hello-world", {"text": "Alice"}, wait=5) == "hello Alice"


async def test_a_text_in_pieces_is_a_list_or_a_string(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/count", official=True)
    def count(to: int) -> ConcatenateIterator[str]:
        yield from (f"{number} " for number in range(to))

    assert await client.run("acme/count", {"to": 3}) == ["0 ", "1 ", "2 "]
    assert await client.run("acme/count", {"to": 3}, type=str) == "0 1 2 "
    assert await client.run("acme/count", {"to": 3}, type=list[str]) == ["0 ", "1 ", "2 "]
    assert await client.run("acme/count", {"to": 0}, type=str) == ""


class Point(msgspec.Struct):
    x: int
    y: float = 0.0


async def test_the_output_is_decoded_as_the_requested_type(client: Replicate) -> None:
    assert await client.run("local/echo", {"value": {"x": 1}}, type=Point) == Point(x=1)
    assert await client.run("local/echo", {"value": [[1, 2]]}, type=list[tuple[int, int]]) == [
        (1, 2)
    ]
    assert await client.run("local/echo", {"value": 7}, type=int) == 7


@pytest.mark.parametrize(
    ("value", "kind"), [("seven", int), ({"y": 1}, Point), ([1, "a"], str), ({"a": 1}, str)]
)
async def test_an_output_of_another_kind_is_a_decode_error(
    client: Replicate, value: object, kind: type
) -> None:
    with pytest.raises(
        DecodeError, match=f"^\\w{{26}}: The output is not {kind.__name__}: "
    ) as caught:
        await client.run("local/echo", {"value": value}, type=kind)

    assert caught.value.prediction is not None
    assert caught.value.prediction.output == value


async def test_a_partial_output_is_never_returned() -> None:
    def body(status: str, output: object) -> dict[str, object]:
        return prediction(server.url, status=status) | {"output": output}

    server = FaultServer(script())
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        server.handler = script(
            json_answer(body("processing", ["Once", " upon"]), 201),
            json_answer(body("processing", ["Once", " upon", " a"])),
            json_answer(body("succeeded", ["Once", " upon", " a", " time"])),
        )
        text = await client.run("acme/echo", {}, wait=1, type=str, poll=QUICK)

    assert text == "Once upon a time"
    assert [request.method for request in server.requests] == ["POST", "GET", "GET"]


async def test_a_held_answer_before_the_end_is_followed_by_polls() -> None:
    async with embedded(Settings(sync_answer="processing")) as (_, client):
        made = await client.predictions.create("local/mandelbrot", {"width": 16}, wait=10)
        output = await client.run("local/mandelbrot", {"width": 16}, wait=10)

    assert made.status == "processing"
    assert str(made.output).startswith("data:image/png")
    assert OUTPUTS in str(output)


async def test_a_failure_is_raised_with_the_prediction(client: Replicate) -> None:
    for wait in (None, 5):
        with pytest.raises(PredictionFailed) as caught:
            await client.run("local/fail", {"message": "no luck", "after": 2}, wait=wait)

        failed = caught.value.prediction
        assert (failed.status, failed.error) == ("failed", "no luck")
        assert failed.output == ["piece 1 ", "piece 2 "]
        assert str(caught.value) == (
            f"prediction {failed.id} of local/fail ended as failed: no luck"
        )


async def test_a_run_that_another_client_cancels_raises_prediction_canceled(
    client: Replicate, gate: Gate
) -> None:
    running = asyncio.ensure_future(client.run("acme/gate", poll=QUICK))
    await gate.entered.wait()
    (made,) = [item async for item in client.predictions.list()]

    await client.predictions.cancel(made)

    with pytest.raises(PredictionCanceled) as caught:
        await running
    assert caught.value.prediction.id == made.id


async def test_a_run_that_never_began_raises_prediction_aborted() -> None:
    async with embedded(Settings()) as (server, client):
        server.add_model("acme/cold", Cold)
        creating = client.run("acme/cold", {"value": 1}, cancel_after=5, poll=QUICK)
        running = asyncio.ensure_future(creating)
        async with asyncio.timeout(HANG):
            while await statuses(client) != ["starting"]:  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.005)
        server.advance(6)
        with pytest.raises(PredictionAborted, match="its deadline passed before it began"):
            await running


async def test_a_removed_output_is_an_error_and_not_none() -> None:
    server = FaultServer(script())
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        ended = prediction(server.url, status="succeeded") | {"output": None, "data_removed": True}
        server.handler = script(json_answer(ended, 201))
        with pytest.raises(OutputRemovedError, match="its output has been removed since") as caught:
            await client.run("acme/echo")

    assert caught.value.prediction.data_removed


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("failed", PredictionFailed),
        ("canceled", PredictionCanceled),
        ("aborted", PredictionAborted),
        ("exploded", PredictionFailed),
    ],
)
async def test_an_end_without_success_is_raised_whatever_the_output(
    status: str, error: type[PredictionError]
) -> None:
    server = FaultServer(script())
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        ended = prediction(server.url, status=status)
        ended |= {"output": ["some"], "completed_at": "2026-01-01T00:00:00Z"}
        server.handler = script(json_answer(ended, 201))
        with pytest.raises(error) as caught:
            await client.run("acme/echo")

    assert caught.value.prediction.output == ["some"]
    assert len(server.requests) == 1


async def test_cancelling_the_task_cancels_the_prediction(client: Replicate, gate: Gate) -> None:
    running = asyncio.ensure_future(client.run("acme/gate"))
    await gate.entered.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await statuses(client) == ["canceled"]
    await gate.stopped.wait()


async def test_cancelling_during_a_held_create_cancels_the_prediction(
    client: Replicate, gate: Gate, server: LocalReplicate
) -> None:
    running = asyncio.ensure_future(client.run("acme/gate", wait=1))
    await gate.entered.wait()

    running.cancel()
    await asyncio.sleep(0)
    server.advance(2)
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await statuses(client) == ["canceled"]


async def test_cancelling_during_the_create_cancels_the_prediction(
    server: LocalReplicate, client: Replicate, gate: Gate
) -> None:
    fault = server.faults.add("models.predictions.create", delay=0.1)
    running = asyncio.ensure_future(client.run("acme/gate"))
    await until(lambda: fault.happened)
    assert not running.done()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await statuses(client) == ["canceled"]


async def test_a_timeout_around_the_run_cancels_the_prediction(
    client: Replicate, gate: Gate
) -> None:
    async def expire() -> None:
        await gate.entered.wait()
        deadline.reschedule(asyncio.get_running_loop().time())

    expiring = asyncio.create_task(expire())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as deadline:
            await client.run("acme/gate")
    await expiring

    assert await statuses(client) == ["canceled"]


async def test_a_timeout_cancels_the_prediction(client: Replicate, gate: Gate) -> None:
    with pytest.raises(WaitTimeout) as caught:
        await client.run("acme/gate", timeout=0.05, poll=QUICK)

    assert await statuses(client) == ["canceled"]
    error = caught.value
    assert error.bound == "timeout"
    assert error.prediction is not None
    assert str(error) == (
        f"{error.prediction.id} is still processing after 0.05 s of waiting; it was canceled. "
        "To give it more time, pass a longer timeout=."
    )


async def test_a_timeout_says_when_the_cancel_failed(
    server: LocalReplicate, client: Replicate, gate: Gate
) -> None:
    server.faults.add("predictions.cancel", status=403)

    with pytest.raises(WaitTimeout, match="canceling it failed, so it may go on") as caught:
        await client.run("acme/gate", timeout=0.05, poll=QUICK)

    assert "it goes on" not in str(caught.value)


async def test_a_run_that_stays_in_the_queue_is_cancelled_after_the_queue_timeout() -> None:
    async with embedded(Settings()) as (server, client):
        server.add_model("acme/cold", Cold)
        with pytest.raises(WaitTimeout, match="in the queue; it was canceled") as caught:
            await client.run("acme/cold", {"value": 1}, queue_timeout=0.05, timeout=0, poll=QUICK)
        assert await statuses(client) == ["canceled"]

    assert caught.value.bound == "queue_timeout"


async def test_an_outage_longer_than_both_timeouts_ends_there_with_the_prediction(
    server: LocalReplicate, client: Replicate, gate: Gate
) -> None:
    server.faults.add("predictions.get", status=502, times=1000)

    with pytest.raises(WaitTimeout, match=r"The last poll failed: GET .* answered 502") as caught:
        await client.run("acme/gate", timeout=0.2, queue_timeout=0.2, poll=QUICK)

    assert caught.value.prediction is not None
    assert "it was canceled" in str(caught.value)
    assert await statuses(client) == ["canceled"]


@pytest.mark.parametrize("status", [500, 502, 403, 404, 401, 408, 429])
async def test_polls_that_fail_for_a_moment_neither_end_a_run_nor_cancel_it(status: int) -> None:
    polls = 0

    def answer(request: Request) -> Answer:
        nonlocal polls
        if request.method == "POST":
            return json_answer(prediction(server.url, id="p", status="starting"), 201)
        polls += 1
        if polls == 2:
            return problem(status)
        shown = "processing" if polls < 4 else "succeeded"
        return json_answer(prediction(server.url, id="p", status=shown))

    server = FaultServer(answer)
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        assert await client.run("acme/echo", {}, poll=QUICK) == "Hello."

    assert not [request for request in server.requests if request.path.endswith("/cancel")]


@pytest.mark.parametrize("body", [b"<html>Just a moment</html>", b"", b"{", b"[]"])
async def test_an_answer_that_cannot_be_read_neither_ends_a_run_nor_cancels_it(
    body: bytes,
) -> None:
    polls = 0

    def answer(request: Request) -> Answer:
        nonlocal polls
        if request.method == "POST":
            return json_answer(prediction(server.url, id="p", status="starting"), 201)
        polls += 1
        whole = json_answer(prediction(server.url, id="p"))
        return replace(whole, body=body) if polls == 1 else whole

    server = FaultServer(answer)
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        assert await client.run("acme/echo", {}, poll=QUICK) == "Hello."

    assert polls == 2
    assert not [request for request in server.requests if request.path.endswith("/cancel")]


async def test_an_output_that_arrives_just_at_the_timeout_is_returned() -> None:
    def answer(request: Request) -> Answer:
        if request.path.endswith("/cancel"):
            return json_answer(prediction(server.url, id="p"))
        return json_answer(prediction(server.url, id="p", status="processing"), 201)

    server = FaultServer(answer)
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        assert await client.run("acme/echo", {}, timeout=0.01, poll=QUICK) == "Hello."


async def test_a_wait_whose_polls_were_refused_does_not_cancel_the_run() -> None:
    """The half minute is tested elsewhere in virtual time; here, the error of `run`."""
    made = msgspec.convert(prediction("https://x", id="p", status="processing"), Prediction)
    api = VirtualAPI().source()
    canceled: list[str] = []

    async def create() -> Prediction:
        return made

    async def wait(_: Prediction) -> Prediction:
        refused = status_error(parse(401, "", b""), operation="GET", retry_after=None)
        plan = ListingPlan[TrackedRun](windowed=True, pages_per_second=1.0)
        raise refusal(refused, TrackedRun("prediction/p", 0.0, api, "p", made, plan))

    async def cancel(prediction_id: str) -> Prediction:
        canceled.append(prediction_id)
        return made

    with pytest.raises(AuthenticationError, match="was not canceled") as caught:
        await run_to_end(create, wait, cancel)

    assert caught.value.prediction is made
    assert not canceled


@pytest.mark.parametrize(
    ("argument", "value"), [("timeout", -1), ("queue_timeout", -1), ("queue_timeout", "1")]
)
async def test_an_invalid_timeout_is_refused_before_the_create(
    client: Replicate, argument: str, value: object
) -> None:
    options: Any = {argument: value}

    with pytest.raises(InvalidArgumentError, match=f"^{argument}={value!r} must be a number"):
        await client.run("local/echo", {"value": 1}, **options)

    assert await statuses(client) == []


@pytest.mark.parametrize(
    ("wait", "times", "held"),
    [
        (60, {"timeout": 3.0}, "wait=3"),
        (True, {"queue_timeout": 7.5}, "wait=7"),
        (5, {"timeout": 30.0}, "wait=5"),
        (5, {"timeout": 0.5}, None),
        (5, {"timeout": None, "queue_timeout": None}, "wait=5"),
    ],
)
async def test_an_answer_is_held_no_longer_than_the_wait_may_take(
    wait: int, times: dict[str, Any], held: str | None
) -> None:
    server = FaultServer(script())
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        server.handler = script(json_answer(prediction(server.url), 201))
        await client.run("acme/echo", {}, wait=wait, **times)

    assert server.requests[0].header("prefer") == held


async def test_a_failed_cancel_does_not_hide_the_first_error(
    server: LocalReplicate, client: Replicate, gate: Gate
) -> None:
    server.faults.add("predictions.cancel", status=500)
    running = asyncio.ensure_future(client.run("acme/gate"))
    await gate.entered.wait()

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_refused_create_leaves_nothing_to_cancel(client: Replicate) -> None:
    refusals: list[tuple[str, type[APIStatusError]]] = [
        ("local/echo", UnprocessableEntityError),
        ("acme/nothing", NotFoundError),
    ]
    for ref, error in refusals:
        with pytest.raises(error):
            await client.run(ref)

    assert await statuses(client) == []


async def test_a_task_cancelled_before_it_began_creates_nothing(client: Replicate) -> None:
    running = asyncio.ensure_future(client.run("local/echo", {"value": 1}))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await statuses(client) == []


async def test_many_runs_at_once_each_get_their_own_output(client: Replicate) -> None:
    outputs = await asyncio.gather(
        *(client.run("local/echo", {"value": number}, poll=QUICK) for number in range(40))
    )

    assert outputs == list(range(40))
