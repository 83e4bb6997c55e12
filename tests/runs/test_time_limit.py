"""The two time limits of a wait, for the queue and for work; in virtual time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from replicate_async import Poll, Prediction, WaitTimeout
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits
from tests.runs.world import World
from tests.support.virtual_time import VirtualLoop, run_virtually

PACE = Poll(first=0.25, starting=0.25, processing=0.25)
SLOW = Poll(first=5.0, starting=5.0, processing=5.0)


def outcome(
    world: World,
    *,
    queue: float,
    work: float,
    timeout: float | None,
    queue_timeout: float | None,
    poll: Poll = PACE,
    known: bool = True,
) -> tuple[Prediction | WaitTimeout, float]:
    """Wait for a run; return it or the error, and how long that took."""
    waits = PredictionWaits(world.tracker, world.api.source())

    async def main() -> tuple[Prediction | WaitTimeout, float]:
        run = world.api.create(work, queue=queue)
        begun = asyncio.get_running_loop().time()
        ended: Prediction | WaitTimeout
        try:
            ended = await waits.wait(
                run.id,
                WaitOptions(timeout=timeout, queue_timeout=queue_timeout, poll=poll),
                last=run if known else None,
            )
        except WaitTimeout as error:
            ended = error
        return ended, asyncio.get_running_loop().time() - begun

    return run_virtually(main())


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("poll", [PACE, SLOW])
def test_time_in_the_queue_is_no_time_of_work(poll: Poll, known: bool) -> None:
    """A run is queued for 2 or 200 seconds, and has its time all the same."""
    timeout = 3.0 if poll is PACE else 9.0
    for queue in (2.0, 200.0):
        ended, _ = outcome(
            World(),
            queue=queue,
            work=2.5,
            timeout=timeout,
            queue_timeout=1e4,
            poll=poll,
            known=known,
        )
        assert isinstance(ended, Prediction)


@pytest.mark.parametrize("known", [True, False])
def test_the_timeout_ends_a_run_that_works_too_long(known: bool) -> None:
    ended, took = outcome(
        World(), queue=20.0, work=60.0, timeout=3.0, queue_timeout=1e4, known=known
    )

    assert isinstance(ended, WaitTimeout)
    assert (ended.bound, ended.seconds, ended.poll_error) == ("timeout", 3.0, "")
    assert str(ended) == (
        "r000000 is still processing after 3 s of waiting; it goes on. Wait again, cancel it, or "
        "pass a longer timeout=."
    )
    assert 23.0 <= took < 24.5


@pytest.mark.parametrize("timeout", [None, 3.0, 1e4])
def test_the_queue_timeout_ends_a_run_that_does_not_begin(timeout: float | None) -> None:
    ended, took = outcome(World(), queue=600.0, work=1.0, timeout=timeout, queue_timeout=30.0)

    assert isinstance(ended, WaitTimeout)
    assert (ended.bound, ended.seconds) == ("queue_timeout", 30.0)
    assert str(ended) == (
        "r000000 is still starting after 30 s in the queue; it goes on. Wait again, cancel it, or "
        "pass a longer queue_timeout=."
    )
    assert 30.0 <= took < 31.5


def test_the_queue_timeout_ends_with_the_queue() -> None:
    ended, _ = outcome(World(), queue=10.0, work=600.0, timeout=None, queue_timeout=11.0)

    assert isinstance(ended, Prediction)


def test_a_run_that_is_known_to_work_is_given_the_timeout_from_now_on() -> None:
    world = World()

    async def main() -> float:
        run = world.api.create(600.0)
        await asyncio.sleep(50.0)
        working = await world.api.get(run.id)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(WaitTimeout):
            await world.wait(working, timeout=7.0, poll=PACE)
        return asyncio.get_running_loop().time() - begun

    assert 7.0 <= run_virtually(main()) < 8.5


def test_each_wait_for_a_run_has_its_own_time() -> None:
    world = World()

    async def late(run: Prediction, timeout: float) -> float:
        with pytest.raises(WaitTimeout):
            await world.wait(run, timeout=timeout, poll=PACE)
        return asyncio.get_running_loop().time() - 100.0

    async def main() -> list[float]:
        run = world.api.create(600.0, queue=2.0)
        first = [asyncio.ensure_future(late(run, 5.0)), asyncio.ensure_future(late(run, 30.0))]
        await asyncio.sleep(10.0)
        return [*await asyncio.gather(*first), await late(run, 20.0)]

    first, second, third = run_virtually(main())
    assert 7.0 <= first < 8.5
    assert 32.0 <= second < 33.5
    assert 52.0 <= third < 54.5


def test_a_page_and_a_webhook_show_that_work_began() -> None:
    world = World(whole=True)

    async def main() -> tuple[list[Prediction | BaseException], float]:
        runs = [world.api.create(600.0, queue=2.0) for _ in range(30)]
        waits = [world.wait(run, timeout=20.0) for run in runs]
        found = await asyncio.gather(*waits, return_exceptions=True)
        took = asyncio.get_running_loop().time()
        run = world.api.create(600.0, queue=1e5)
        leisure = Poll(first=1e4, starting=1e4, processing=1e4)
        waiting = asyncio.ensure_future(world.wait(run, timeout=20.0, poll=leisure))
        await asyncio.sleep(5.0)
        began = msgspec.structs.replace(run, status="processing")
        world.tracker.notify("prediction", began)
        told = asyncio.get_running_loop().time()
        found += await asyncio.gather(waiting, return_exceptions=True)
        return found, took if asyncio.get_running_loop().time() - told < 22.0 else 0.0

    found, took = run_virtually(main())
    assert all(isinstance(one, WaitTimeout) and one.bound == "timeout" for one in found)
    assert world.api.pages
    assert 122.0 <= took < 126.0


@pytest.mark.parametrize("ended", [True, False])
def test_a_result_that_arrived_while_the_loop_was_blocked_beats_its_deadline(ended: bool) -> None:
    world = World(latency=2.0)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        run = world.api.create(2.5 if ended else 600.0, queue=0.0)
        working = msgspec.structs.replace(run, status="processing")
        waiting = asyncio.ensure_future(world.wait(working, timeout=5.0, poll=SLOW))
        # The last poll is sent at 4 to 5 seconds, and answered while the loop is blocked.
        await asyncio.sleep(4.99)
        loop.now += 60.0
        if ended:
            assert (await waiting).status == "succeeded"
        else:
            with pytest.raises(WaitTimeout):
                await waiting
        return loop.time() - 100.0

    assert run_virtually(main()) < 66.0
