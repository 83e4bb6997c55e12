from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from typing import Final

import pytest

from replicate_async import Poll, Replicate, Retry, Timeout
from tests.faults.calls import ALL, AT_ONCE, Call, after, client_of
from tests.support.cancel_sweep import cancel_sweep
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, page, prediction, problem, service
from tests.support.waiting import HANG
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio

QUICK: Final = Poll(first=0.001, starting=0.001, processing=0.001)
TINY: Final = Retry(base=0.001, throttle_base=0.001)


async def create_and_cancel(client: Replicate) -> None:
    await client.predictions.cancel(await client.models.predictions.create("acme/echo", {}))


async def half_a_listing(client: Replicate) -> None:
    async for _ in client.predictions.list():
        break


async def pages(client: Replicate) -> None:
    async for found in client.predictions.list().pages():
        assert found.results


async def from_another_copy(client: Replicate) -> None:
    await client.with_options(timeout=HANG).account.get()


async def side_by_side(client: Replicate) -> None:
    await asyncio.gather(client.account.get(), client.hardware.list())


async def under_a_deadline(client: Replicate) -> None:
    async with asyncio.timeout(HANG):
        await client.account.get()


async def closed_by_hand(client: Replicate) -> None:
    await client.account.get()
    await client.aclose()


FLOWS: Final[dict[str, Call]] = {
    "create and cancel": create_and_cancel,
    "half a listing": half_a_listing,
    "pages": pages,
    "another copy": from_another_copy,
    "side by side": side_by_side,
    "under a deadline": under_a_deadline,
    "closed by hand": closed_by_hand,
    "predictions.wait": lambda c: c.predictions.wait("abc", poll=QUICK),
    "trainings.wait": lambda c: c.trainings.wait("abc", poll=QUICK),
    "run": lambda c: c.run("acme/echo", {}, poll=QUICK),
    "run a version": lambda c: c.run("acme/echo:" + "5" * 64, {}, poll=QUICK),
    "a held create": lambda c: c.predictions.create("acme/echo", {}, wait=1),
}


def slow_to_end(server: FaultServer, request: Request) -> Answer:
    """Let runs go on for two looks, and listings for two pages."""
    seen = sum(1 for earlier in server.requests[-3:] if earlier.path == request.path)
    running = request.path.startswith(("/v1/predictions/", "/v1/trainings/")) and seen < 3
    if running and request.method == "GET":
        return json_answer({**prediction(server.url, status="processing"), "output": None})
    if request.path == "/v1/predictions" and request.method == "GET":
        more = None if "cursor" in request.target else f"{server.url}/predictions?cursor=2"
        return json_answer(page(prediction(server.url), next=more))
    return service(server.url, request)


async def sweep(
    server: FaultServer, call: Call, *, retry: Retry = AT_ONCE, timeout: Timeout | None = None
) -> None:
    async def scenario() -> None:
        async with client_of(server, retry=retry, timeout=timeout) as client:
            await call(client)

    found = await cancel_sweep(scenario, open_connections=lambda: server.open_connections)
    found.assert_clean()
    assert found.points >= 2


QUICK_SWEEPS: Final = [
    "predictions.create",
    "predictions.get",
    "predictions.list",
    "files.create",
    "create and cancel",
    "run",
]
SWEEPS: Final = [
    *QUICK_SWEEPS,
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in [*ALL, *FLOWS]
        if name not in QUICK_SWEEPS
    ),
]


@pytest.mark.parametrize("name", SWEEPS)
async def test_a_call_cancelled_anywhere_leaves_nothing_behind(name: str) -> None:
    async with FaultServer(lambda request: slow_to_end(server, request)) as server:
        await sweep(server, {**ALL, **FLOWS}[name])


TROUBLES: Final = {
    "throttled": problem(429, Retry_After="0"),
    "unavailable": problem(503),
    "reset": Answer(cut=0, ending=Ending.RESET),
    "closed in the body": Answer(body=b"{}" * 50, cut=100, ending=Ending.CLOSE),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_call_cancelled_while_it_is_repeated_leaves_nothing_behind(trouble: str) -> None:
    def handler(request: Request) -> Answer:
        if len(server.requests) % 3:
            return TROUBLES[trouble]
        return service(server.url, request)

    async with FaultServer(handler) as server:
        await sweep(server, ALL["predictions.get"], retry=TINY)


async def test_a_call_cancelled_while_the_answer_trickles_leaves_nothing_behind() -> None:
    def handler(request: Request) -> Answer:
        return replace(service(server.url, request), step=150, pause=0.001, framing="chunked")

    async with FaultServer(handler) as server:
        await sweep(server, ALL["predictions.get"])


async def test_a_call_cancelled_while_it_is_redirected_leaves_nothing_behind() -> None:
    def handler(request: Request) -> Answer:
        if request.target.endswith("/final"):
            return service(server.url, request)
        return Answer(status=302, headers=(("Location", "/v1/predictions/final"),))

    async with FaultServer(handler) as server:
        await sweep(server, ALL["predictions.get"])


async def test_an_upload_cancelled_anywhere_leaves_nothing_behind() -> None:
    async def upload(client: Replicate) -> None:
        await client.files.create(b"0123456789" * 300_000, filename="large.bin")

    async with after() as server:
        await sweep(server, upload)


async def test_a_client_goes_on_working_after_a_cancel_at_any_point() -> None:
    async with after() as server, client_of(server) as client:

        async def scenario() -> None:
            await client.predictions.get("swept")

        async def check() -> None:
            found = await client.predictions.get("checked")
            assert found.id == "checked"

        for delay in range(40):
            task = asyncio.create_task(scenario())
            for _ in range(delay % 20):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await check()


async def test_a_cancelled_run_cancels_its_prediction() -> None:
    asked = asyncio.Event()

    def handler(request: Request) -> Answer:
        if request.path.endswith("/cancel"):
            return json_answer(prediction(server.url, status="canceled"))
        if request.method == "GET":
            asked.set()
        status = 201 if request.method == "POST" else 200
        return json_answer(prediction(server.url, status="processing"), status)

    async with FaultServer(handler) as server, client_of(server) as client:
        running = asyncio.create_task(client.run("acme/echo", {}, poll=QUICK))
        await asked.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    last = server.requests[-1]
    assert (last.method, last.path.rpartition("/")[2]) == ("POST", "cancel")


async def test_a_run_cancelled_while_it_is_created_cancels_what_was_created() -> None:
    creating = asyncio.Event()

    def handler(request: Request) -> Answer:
        if request.path.endswith("/cancel"):
            return json_answer(prediction(server.url, status="canceled"))
        creating.set()
        return replace(json_answer(prediction(server.url, status="starting"), 201), delay=0.05)

    async with FaultServer(handler) as server, client_of(server) as client:
        running = asyncio.create_task(client.run("acme/echo", {}))
        await creating.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert [request.path.rpartition("/")[2] for request in server.requests] == [
        "predictions",
        "cancel",
    ]


async def test_no_answer_goes_to_another_request_in_a_storm_of_cancels() -> None:
    requests, workers = 5000, 50
    rng = random.Random(14)
    numbers = iter(range(requests))
    outcomes = {"answered": 0, "cancelled": 0}

    def handler(request: Request) -> Answer:
        nonce = request.path.rpartition("/")[2]
        answer = json_answer(prediction(server.url, id=nonce))
        step = 200 if rng.random() < 0.3 else None
        return replace(answer, delay=rng.random() * 0.004, step=step, pause=0.0005)

    async def work(client: Replicate) -> None:
        for number in numbers:
            nonce = f"nonce-{number}"
            call = asyncio.create_task(client.predictions.get(nonce))
            if rng.random() < 0.5:
                asyncio.get_running_loop().call_later(rng.random() * 0.008, call.cancel)
            try:
                found = await call
            except asyncio.CancelledError:
                outcomes["cancelled"] += 1
            else:
                assert found.id == nonce
                outcomes["answered"] += 1

    async with FaultServer(handler) as server, client_of(server) as client:
        await asyncio.gather(*(work(client) for _ in range(workers)))
        # No slot is held by a request that was cancelled: all workers can still be served at once.
        found = await asyncio.gather(*(client.predictions.get(f"n{n}") for n in range(workers)))
        assert [each.id for each in found] == [f"n{n}" for n in range(workers)]

    assert sum(outcomes.values()) == requests
    assert min(outcomes.values()) > requests // 10
