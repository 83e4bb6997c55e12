"""Polls in flight when a wait ends, is cancelled or is joined by another; in virtual time."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

import anyio
import msgspec
import pytest

from replicate_async import APIConnectionError, Poll, Prediction, WaitTimeout
from replicate_async.runs.waiting.tracker import RunTracker
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits
from tests.runs.world import World
from tests.support.virtual_time import run_virtually

EACH_SECOND: Final = Poll(first=1.0, starting=1.0, processing=1.0)


@pytest.mark.parametrize("end", ["announced", "timeout", "cancel"])
def test_a_wait_ends_without_the_answer_that_its_poll_awaits(end: str) -> None:
    world = World(latency=1000.0)

    async def main() -> None:
        loop, run = asyncio.get_running_loop(), world.api.create(5.0)
        begun = loop.time()
        waiting = asyncio.create_task(world.wait(run.id, timeout=3.0 if end == "timeout" else None))
        await asyncio.sleep(1.0)
        assert world.api.asking == 1
        if end == "announced":
            ended = msgspec.structs.replace(run, status="succeeded")
            world.tracker.notify("prediction", ended)
            assert await waiting == ended
        elif end == "timeout":
            with pytest.raises(WaitTimeout):
                await waiting
        else:
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert waiting.cancelling() == (end == "cancel")
        assert loop.time() - begun == pytest.approx(33.0 if end == "timeout" else 1.0)
        assert (len(world.tracker), world.api.asking) == (0, 0)

    run_virtually(main())


def test_a_cancel_together_with_the_end_is_a_cancel() -> None:
    world = World(latency=1000.0)

    async def main() -> None:
        run = world.api.create(5.0)
        waiting = asyncio.create_task(world.wait(run.id))
        await asyncio.sleep(1.0)
        waiting.cancel()
        world.tracker.notify("prediction", msgspec.structs.replace(run, status="succeeded"))
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run_virtually(main())


@pytest.mark.parametrize("first", ["scope", "end"])
def test_a_scope_that_is_cancelled_together_with_the_end_keeps_its_cancel(first: str) -> None:
    world = World(latency=1000.0)

    async def wait(run: Prediction, scope: anyio.CancelScope) -> str:
        with scope:
            await world.wait(run.id)
            await asyncio.sleep(1.0)
        return "went on"

    async def main() -> None:
        run, scope = world.api.create(5.0), anyio.CancelScope()
        waiting = asyncio.create_task(wait(run, scope))
        await asyncio.sleep(1.0)
        ended = msgspec.structs.replace(run, status="succeeded")
        if first == "scope":
            scope.cancel()
        world.tracker.notify("prediction", ended)
        if first == "end":
            scope.cancel()
        assert await waiting == "went on"
        assert scope.cancelled_caught
        assert waiting.cancelling() == 0

    run_virtually(main())


@pytest.mark.parametrize("asking", [True, False])
def test_a_second_wait_ends_though_the_first_is_cancelled(asking: bool) -> None:
    world = World(latency=0.5)

    async def main() -> float:
        run = world.api.create(2.0)
        first = asyncio.create_task(world.wait(run.id))
        await asyncio.sleep(0.25 if asking else 0)
        second = asyncio.create_task(world.wait(run.id))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).status == "succeeded"
        return asyncio.get_running_loop().time() - world.api.runs[run.id].ended

    assert run_virtually(main()) < 2.0


def test_a_second_wait_that_begins_in_the_turn_of_the_end_ends() -> None:
    world = World()
    leisure = Poll(first=60.0, starting=60.0, processing=60.0)

    async def main() -> float:
        run = world.api.create(5.0)
        first = asyncio.create_task(world.wait(run, poll=leisure))
        await asyncio.sleep(6.0)
        ended = await world.api.get(run.id)
        # It subscribes before the first wait, which has its end, unsubscribes.
        second = asyncio.create_task(world.wait(run.id, poll=leisure))
        world.tracker.notify("prediction", ended)
        assert await first == await second == ended
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) < 107.0


def test_a_second_wait_that_begins_as_a_poll_falls_due_ends() -> None:
    world = World()

    async def main() -> None:
        loop, run = asyncio.get_running_loop(), world.api.create(2.0)
        waits = PredictionWaits(RunTracker(jitter=lambda: 0.0), world.api.source())
        due = loop.time() + 1.0

        def wait() -> Coroutine[Any, Any, Prediction]:
            return waits.wait(run.id, WaitOptions(poll=EACH_SECOND), last=run)

        first = asyncio.create_task(wait())
        await asyncio.sleep(0)

        async def second() -> Prediction:
            first.cancel()
            return await wait()

        # In the same turn of the loop as the poll, and just before it.
        later = loop.create_future()
        loop.call_at(due - 5e-10, lambda: later.set_result(loop.create_task(second())))
        assert (await (await later)).status == "succeeded"
        assert first.cancelled()

    run_virtually(main())


def test_a_wait_that_has_ended_keeps_no_context_of_its_caller() -> None:
    world, variable = World(), ContextVar[object]("variable")

    class Large:
        pass

    async def caller() -> weakref.ref[Large]:
        large = Large()
        variable.set(large)
        await world.wait(world.api.create(5.0), timeout=600.0)
        return weakref.ref(large)

    async def main() -> object:
        # The event loop drops canceled timers that are due before all others at once.
        asyncio.get_running_loop().call_later(60.0, list)
        large = await asyncio.create_task(caller())
        await asyncio.sleep(0.1)  # the loop drops the task
        gc.collect()
        return large()

    assert run_virtually(main()) is None


def test_a_request_that_cancels_itself_ends_no_wait() -> None:
    world = World()
    refusals = 2

    async def interrupted(name: str) -> Prediction:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise asyncio.CancelledError
        return await world.api.get(name)

    async def main() -> Prediction:
        run = world.api.create(3.0)
        waits = PredictionWaits(world.tracker, replace(world.api.source(), get=interrupted))
        return await waits.wait(run.id, WaitOptions(), last=run)

    assert run_virtually(main()).status == "succeeded"


def test_polls_that_are_queued_when_an_outage_begins_wait_for_its_end() -> None:
    world, out = World(), True

    async def get(name: str) -> Prediction:
        await asyncio.sleep(0.05)
        if out:
            raise APIConnectionError("No network.")
        return await world.api.get(name)

    async def main() -> list[Prediction]:
        nonlocal out
        names = [world.api.create(20.0).id for _ in range(400)]  # more than are polled at a time
        waits = PredictionWaits(world.tracker, replace(world.api.source(), get=get))
        waiting = [asyncio.create_task(waits.wait(name, WaitOptions())) for name in names]
        await asyncio.sleep(10.0)
        out = False
        return await asyncio.gather(*waiting)

    assert {ended.status for ended in run_virtually(main())} == {"succeeded"}


def test_an_error_that_cannot_be_copied_is_raised_as_it_is() -> None:
    class StubbornError(Exception):
        def __reduce__(self) -> str:
            raise TypeError("not me")

    world = World()

    async def refuse(_: str) -> Prediction:
        raise StubbornError

    async def main() -> list[Prediction | BaseException]:
        waits = PredictionWaits(world.tracker, replace(world.api.source(), get=refuse))
        both = [waits.wait("x", WaitOptions()) for _ in range(2)]
        return await asyncio.gather(*both, return_exceptions=True)

    assert [type(error) for error in run_virtually(main())] == [StubbornError, StubbornError]


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="needs eager tasks of Python 3.12; run `nox -s newer`"
)
def test_waits_end_in_a_loop_whose_tasks_are_eager() -> None:
    world = World()

    async def main() -> list[float]:
        factory: Any = getattr(asyncio, "eager_task_factory")  # noqa: B009 - new in Python 3.12
        asyncio.get_running_loop().set_task_factory(factory)
        return await asyncio.gather(*(world.run(2.0) for _ in range(400)))

    assert max(run_virtually(main())) < 3.0
