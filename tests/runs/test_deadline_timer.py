"""One timer for the earliest of many times, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from replicate_async.runs.waiting.deadline_timer import DeadlineTimer

NewLoop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    if request.param == "asyncio":
        return asyncio.new_event_loop
    pytest.importorskip("uvloop", reason="there is none for Windows")
    uvloop: Any = import_module("uvloop")
    make: NewLoop = uvloop.new_event_loop
    return make


def test_it_rings_once_and_at_the_earliest_of_its_times(new_loop: NewLoop) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rung: list[float] = []
        timer = DeadlineTimer(loop, rung.append)
        begun = loop.time()
        for delay in (60.0, 0.02, 30.0):
            timer.set(begun + delay)
            assert timer.at <= begun + delay
        while not rung:  # noqa: ASYNC110 - it calls a plain function
            await asyncio.sleep(0.01)

        assert len(rung) == 1
        assert begun + 0.02 <= rung[0] < begun + 30.0

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_it_may_be_set_to_a_time_that_has_passed_and_again_before_it_rings(
    new_loop: NewLoop,
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rung: list[float] = []

        def ring(now: float) -> None:
            rung.append(now)
            if len(rung) < 3:
                timer.set(now - 1.0)
                timer.set(now)

        timer = DeadlineTimer(loop, ring)
        timer.set(loop.time() - 1.0)
        timer.set(loop.time() + 1.0)
        assert timer.at < loop.time()
        while len(rung) < 3:  # noqa: ASYNC110 - it calls a plain function
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)

        assert len(rung) == 3

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_it_does_not_ring_when_it_was_cancelled(new_loop: NewLoop) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rung: list[float] = []
        timer = DeadlineTimer(loop, rung.append)
        for _ in range(2):
            timer.set(loop.time())
            timer.cancel()
        await asyncio.sleep(0.01)
        assert rung == []
        timer.set(loop.time())
        while not rung:  # noqa: ASYNC110 - it calls a plain function
            await asyncio.sleep(0.01)
        assert len(rung) == 1

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
