"""Seeing the changes of a run, against the embedded server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import msgspec
import pytest

from replicate_async import (
    ClientStateError,
    InvalidArgumentError,
    Limits,
    NotFoundError,
    Poll,
    Prediction,
    PredictionError,
    PredictionFailed,
    Replicate,
    Training,
    WaitTimeout,
)
from replicate_async.context import context_of
from replicate_async.local import LocalReplicate
from replicate_async.local.builtins.progress import Progress as Bar
from tests.runs.states import LEISURE, QUICK, STATES, Service, ended, signed
from tests.support.cancel_sweep import cancel_sweep
from tests.support.embedded import until
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction, problem
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service(*STATES)
    async with service.server:
        yield service


async def test_every_change_is_seen_once_and_the_end_last(service: Service) -> None:
    async with service.client() as client:
        seen = [run async for run in client.predictions.watch("abc", poll=QUICK)]

    assert [(run.status, bool(run.logs), run.output) for run in seen] == [
        ("starting", False, None),
        ("processing", False, None),
        ("processing", True, None),
        ("processing", True, ["a"]),
        ("succeeded", True, ["a", "b"]),
    ]


async def test_every_change_is_seen_by_polls_that_are_due_at_once(service: Service) -> None:
    at_once = Poll(first=1e-6, starting=1e-6, processing=1e-6)
    async with service.client() as client:
        seen = [run.status async for run in client.predictions.watch("abc", poll=at_once)]

    assert seen == ["starting", "processing", "processing", "processing", "succeeded"]
    assert service.asked("abc") == len(STATES)


async def test_progress_is_that_of_the_last_bar_on_a_line_that_is_overwritten(
    service: Service,
) -> None:
    async with service.client() as client:
        seen = [run.progress async for run in client.predictions.watch("abc", poll=QUICK)]

    assert seen[0] is None
    assert seen[-1] is not None
    assert (seen[-1].percentage, seen[-1].current, seen[-1].total) == (0.6, 3, 5)


@pytest.mark.parametrize("kind", ["function", "async function"])
async def test_a_function_is_called_with_every_change(service: Service, kind: str) -> None:
    seen: list[str] = []

    def note(run: Prediction) -> None:
        seen.append(run.status)

    async def note_later(run: Prediction) -> None:
        await asyncio.sleep(0)
        seen.append(run.status)

    async with service.client() as client:
        on_update = note if kind == "function" else note_later
        run = await client.predictions.wait("abc", poll=QUICK, on_update=on_update)

    assert run.output == ["a", "b"]
    assert seen == ["starting", "processing", "processing", "processing", "succeeded"]


async def test_an_error_of_the_function_ends_its_wait_and_no_other(service: Service) -> None:
    def refuse(run: Prediction) -> None:
        if run.status == "processing":
            raise LookupError("mine")

    async with service.client() as client:
        found = await asyncio.gather(
            client.predictions.wait("abc", poll=QUICK, on_update=refuse),
            client.predictions.wait("abc", poll=QUICK),
            return_exceptions=True,
        )

    assert isinstance(found[0], LookupError)
    assert isinstance(found[1], Prediction)


async def test_a_run_calls_the_function_from_its_creation_on(service: Service) -> None:
    seen: list[str] = []
    async with service.client() as client:
        output = await client.run(
            "acme/echo", {}, poll=QUICK, on_update=lambda run: seen.append(run.status)
        )

    assert output == ["a", "b"]
    assert (seen[0], seen[-1]) == ("starting", "succeeded")
    assert seen.count("starting") == 1


async def test_a_run_is_cancelled_when_the_function_raises(service: Service) -> None:
    def refuse(_: Prediction) -> None:
        raise LookupError("mine")

    async with service.client() as client:
        with pytest.raises(LookupError):
            await client.run("acme/echo", {}, on_update=refuse)

    assert service.asked("/cancel") == 1


async def test_an_on_update_that_is_not_callable_is_refused(service: Service) -> None:
    async with service.client() as client:
        with pytest.raises(InvalidArgumentError, match="on_update=3 must be a function"):
            await client.predictions.wait("abc", on_update=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake


async def test_a_watch_that_is_left_early_leaves_nothing_behind(service: Service) -> None:
    async with service.client() as client:
        async for run in client.predictions.watch("abc", poll=QUICK):
            if run.status == "processing":
                break
        asked = len(service.server.requests)
        await asyncio.sleep(0.02)
        assert len(service.server.requests) == asked
        assert len(context_of(client).tracker) == 0


async def test_a_watch_of_an_ended_run_shows_its_end(client: Replicate) -> None:
    made = await client.predictions.create("replicate/hello-world", {"text": "x"}, wait=10)
    assert made.done

    assert [run async for run in client.predictions.watch(made)] == [made]
    called: list[Prediction] = []
    await client.predictions.wait(made, on_update=called.append)
    assert called == [made]


@pytest.mark.virtual_clock
async def test_a_watch_ends_with_its_errors(service: Service) -> None:
    service.states = [{"status": "processing"}]
    async with service.client() as client:
        watch = client.predictions.watch("abc", poll=QUICK, timeout=0.03)
        assert (await anext(watch)).status == "processing"
        with pytest.raises(WaitTimeout):
            await anext(watch)
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
        assert repr(watch) == "<RunUpdates abc over>"


async def test_a_watch_is_read_by_one_task_and_may_be_closed(service: Service) -> None:
    service.states = [{"status": "processing"}]
    async with service.client() as client:
        watch = client.predictions.watch("abc", poll=QUICK)
        await anext(watch)
        reading = asyncio.ensure_future(anext(watch, None))
        await asyncio.sleep(0.01)
        with pytest.raises(ClientStateError, match="another task"):
            await anext(watch)
        watch.close()
        assert await reading is None
        watch.close()
        assert len(context_of(client).tracker) == 0


async def test_a_watch_may_be_closed_before_its_first_state(service: Service) -> None:
    hanging = Answer(cut=0, ending=Ending.HANG)
    async with (
        FaultServer(lambda _: hanging) as server,
        Replicate(TOKEN, base_url=server.url) as client,
    ):
        watch = client.predictions.watch("abc", poll=QUICK)
        reading = asyncio.ensure_future(anext(watch, None))
        await until(lambda: server.requests)
        watch.close()
        assert await reading is None
        assert len(context_of(client).tracker) == 0


async def test_a_watch_that_was_cancelled_goes_on(service: Service) -> None:
    async with service.client() as client:
        watch = client.predictions.watch("abc", poll=LEISURE)
        await anext(watch)
        with anyio.move_on_after(0.01):
            await anext(watch)
        assert len(context_of(client).tracker) == 0
        with anyio.move_on_after(0.01):
            await anext(watch)
    assert service.asked("/predictions/abc") == 1


async def test_trainings_are_watched_and_waited_for_alike(service: Service) -> None:
    seen: list[str] = []
    async with service.client() as client:
        statuses = [run.status async for run in client.trainings.watch("abc", poll=QUICK)]
        service.states = [{"status": "failed"}]
        run = await client.trainings.wait(
            "abc", poll=QUICK, on_update=lambda run: seen.append(run.status)
        )

    assert statuses == ["starting", "processing", "succeeded"]
    assert isinstance(run, Training)
    assert seen == ["failed"]


async def test_progress_of_a_model_is_seen_while_it_runs(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/steps")
    async def steps() -> str:
        bar = Bar(3)
        for _ in range(3):
            await asyncio.sleep(0.02)
            bar.advance()
        return "done"

    made = await client.predictions.create("acme/steps", {})
    seen = [run async for run in client.predictions.watch(made, poll=QUICK)]

    parts = [run.progress.current for run in seen if run.progress is not None]
    assert parts == sorted(parts)
    assert parts[-1] == 3
    assert seen[-1].output == "done"


async def test_many_waits_are_answered_from_the_embedded_servers_listing() -> None:
    async with (
        LocalReplicate(api_token=TOKEN) as server,
        Replicate(TOKEN, base_url=server.url, limits=Limits(enabled=False)) as client,
    ):
        made = await asyncio.gather(
            *(
                client.predictions.create("local/slow", {"seconds": 0.6, "steps": 1})
                for _ in range(60)
            )
        )
        before = context_of(client).requests_sent
        runs = await asyncio.gather(*(client.predictions.wait(run) for run in made))
        assert all(run.status == "succeeded" and run.output is not None for run in runs)
        assert [run.id for run in runs] == [run.id for run in made]
        assert context_of(client).requests_sent - before < 60
        assert len(context_of(client).tracker) == 0


@pytest.mark.virtual_clock
async def test_a_deadline_around_a_run_is_sent_to_the_api(service: Service) -> None:
    async with service.client() as client:
        with anyio.fail_after(100):
            await client.run("acme/echo", {}, poll=QUICK)
        with anyio.fail_after(2):
            await client.run("acme/echo", {}, poll=QUICK)
        with anyio.fail_after(100):
            await client.run("acme/echo", {}, poll=QUICK, cancel_after="1h")
        with anyio.fail_after(100_000):
            await client.run("acme/echo", {}, poll=QUICK)
        await client.run("acme/echo", {}, poll=QUICK)

    creates = [request for request in service.server.requests if request.method == "POST"]
    assert [request.header("cancel-after") for request in creates] == [
        "100s",
        "5s",
        "1h",
        None,
        None,
    ]


async def test_a_model_that_is_known_to_be_quick_is_run_in_one_request(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/quick")
    async def quick(text: str) -> str:
        await asyncio.sleep(0.03)
        return text

    costs: list[int] = []
    for number in range(7):
        before = context_of(client).requests_sent
        assert await client.run("acme/quick", {"text": str(number)}) == str(number)
        costs.append(context_of(client).requests_sent - before)

    assert costs[-1] == 1
    assert min(costs[:5]) > 1
    before = context_of(client).requests_sent
    await client.run("acme/quick", {"text": "x"}, wait=False)
    assert context_of(client).requests_sent - before > 1


async def test_a_run_that_fails_at_once_raises_its_failure(client: Replicate) -> None:
    seen: list[str] = []
    with pytest.raises(PredictionFailed):
        await client.run(
            "local/fail", {"message": "no"}, on_update=lambda run: seen.append(run.status)
        )
    assert seen[-1] == "failed"
    with pytest.raises(NotFoundError):
        await client.predictions.get("nothing")
    assert issubclass(PredictionFailed, PredictionError)


@pytest.mark.parametrize(
    "what",
    [
        "watch",
        "run",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("wait", "on_update", "notify", "trainings")
        ),
    ],
)
async def test_nothing_is_left_wherever_it_is_cancelled(what: str) -> None:
    service = Service(*STATES)
    body = ended()

    async def scenario() -> None:
        service.states = [{"status": "starting"}, {"status": "processing"}, STATES[-1]]
        async with service.client() as client:
            predictions = client.predictions
            if what == "wait":
                await predictions.wait("abc", poll=QUICK)
            elif what == "on_update":
                await predictions.wait("abc", poll=QUICK, on_update=lambda _: asyncio.sleep(0))
            elif what == "watch":
                async for _ in predictions.watch("abc", poll=QUICK):
                    await asyncio.sleep(0)
            elif what == "run":
                await client.run("acme/echo", {}, poll=QUICK, on_update=lambda _: None)
            elif what == "notify":
                await predictions.handle_webhook(body, signed(body))
            else:
                await client.trainings.wait("abc", poll=QUICK)

    async with service.server:
        sweep = await cancel_sweep(
            scenario, open_connections=lambda: service.server.open_connections
        )
    sweep.assert_clean()


async def test_a_listing_that_is_refused_costs_one_request() -> None:
    async def main() -> tuple[int, int]:
        service = Service({"status": "succeeded"})

        def answer(request: Request) -> Answer:
            if request.path.endswith("/predictions"):
                return problem(403)
            known = prediction(service.server.url, id=request.path.rpartition("/")[2])
            return json_answer(known)

        server = FaultServer(answer)
        service.server = server
        async with server, service.client() as client:
            going = [
                msgspec.convert(
                    prediction("https://x", id=f"p{at}", status="processing") | {"urls": {}},
                    Prediction,
                )
                for at in range(30)
            ]
            runs = await asyncio.gather(*(client.predictions.wait(run) for run in going))
            assert {run.status for run in runs} == {"succeeded"}
        pages = sum(request.path.endswith("/predictions") for request in server.requests)
        return pages, len(server.requests)

    pages, requests = await main()
    assert pages == 1
    assert requests == 31
