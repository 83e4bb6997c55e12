"""Many waits in virtual time: which requests they cost, and how soon they end."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from typing import Any

import msgspec
import pytest

from replicate_async import Poll, Prediction, PredictionGone, WaitTimeout
from replicate_async.core.problem import parse
from replicate_async.errors import NotFoundError, status_error
from replicate_async.runs.waiting.listed_run import RawPage
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits, RunUpdates
from tests.runs.world import World
from tests.support.virtual_time import VirtualLoop, run_virtually
from tests.support.waiting import HANG


@pytest.mark.parametrize(
    "waits", [1_000, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_a_run_among_many_waits_costs_at_most_a_request_and_a_fifth(waits: int) -> None:
    world = World(pages=1000)

    delays = run_virtually(world.keep_running(waits, seconds=50, shortest=10))

    assert len(delays) > 1.5 * waits
    assert world.api.pages
    assert world.api.requests / len(delays) <= 1.2
    assert statistics.median(delays) < 1.0
    assert max(delays) < 10.0


def test_listed_runs_that_are_complete_need_no_further_request() -> None:
    world = World(whole=True, pages=1000)

    delays = run_virtually(world.keep_running(500, seconds=50, shortest=10))

    assert world.api.pages
    assert len(world.api.gets) < 0.15 * len(delays)
    assert world.api.requests / len(delays) < 0.6


def test_few_runs_are_polled_one_by_one() -> None:
    world = World()

    async def main() -> list[float]:
        return await asyncio.gather(*(world.run(10.0) for _ in range(3)))

    delays = run_virtually(main())

    assert world.api.pages == []
    assert len(world.api.gets) < 3 * 20
    assert max(delays) < 2.0


def test_runs_of_a_known_duration_are_polled_less_before_their_end() -> None:
    world = World()

    async def main() -> tuple[int, list[float]]:
        for _ in range(6):
            await world.run(30.0)
        before = len(world.api.gets)
        delays = [await world.run(30.0) for _ in range(4)]
        return before, delays

    before, delays = run_virtually(main())

    assert (len(world.api.gets) - before) / 4 < before / 6 / 2
    assert max(delays) < 3.5


def test_a_run_that_ends_early_is_seen_before_it_is_much_older() -> None:
    world = World()

    async def main() -> float:
        for _ in range(6):
            await world.run(60.0)
        return await world.run(12.0)

    assert run_virtually(main()) < 14.0


def test_pages_keep_to_their_rate() -> None:
    world = World(whole=True, pages=2.0)

    run_virtually(world.keep_running(800, seconds=60, shortest=10))

    assert 0 < len(world.api.pages) < 2.0 * 50 + 10


def test_waits_end_without_a_listing_that_fails() -> None:
    world = World()
    world.api.listing_fails = True

    async def main() -> list[float]:
        return await asyncio.gather(*(world.run(3.0) for _ in range(50)))

    delays = run_virtually(main())

    assert max(delays) < 2.0
    assert 0 < len(world.api.pages) <= 8
    assert len(world.api.gets) >= 50


def test_a_run_that_the_listing_does_not_show_is_polled_by_itself() -> None:
    world = World()

    async def main() -> list[float]:
        runs = [world.api.create(5.0) for _ in range(40)]
        world.api.unlisted = {run.id for run in runs[:5]}
        ended = await asyncio.gather(*map(world.wait, runs))
        assert all(run.status == "succeeded" for run in ended)
        return [asyncio.get_running_loop().time() - world.api.runs[run.id].ended for run in ended]

    delays = run_virtually(main())

    assert max(delays) < 3.0
    assert world.api.pages


def test_a_listing_full_of_other_runs_is_not_read_for_long() -> None:
    world = World(pages=1000)

    async def main() -> None:
        runs = list[Prediction]()
        for _ in range(30):
            runs.append(world.api.create(40.0))
            for _ in range(200):
                world.api.create(0.0)
            await asyncio.sleep(0.2)
        await asyncio.gather(*map(world.wait, runs))

    run_virtually(main())

    assert 0 < len(world.api.pages) < 150


def test_a_listing_without_windows_is_read_from_its_start() -> None:
    world = World(windowed=False, whole=True)

    async def main() -> list[float]:
        return await asyncio.gather(*(world.run(5.0) for _ in range(150)))

    delays = run_virtually(main())

    assert max(delays) < 3.0
    assert set(world.api.pages) == {(None, None)}


def test_waits_for_one_run_share_its_polls() -> None:
    alone, shared = World(), World()

    async def one() -> None:
        await alone.run(10.0)

    async def many() -> list[Prediction]:
        run = shared.api.create(10.0)
        return await asyncio.gather(*(shared.wait(run) for _ in range(20)))

    run_virtually(one())
    ended = run_virtually(many())

    assert all(run.status == "succeeded" for run in ended)
    assert len(shared.api.gets) <= len(alone.api.gets) + 2


def test_the_fastest_pace_of_the_waits_for_a_run_counts() -> None:
    world = World()
    slow, quick = (Poll(first=pace, starting=pace, processing=pace) for pace in (30.0, 0.5))

    async def main() -> float:
        run = world.api.create(4.0)
        await asyncio.gather(world.wait(run, poll=slow), world.wait(run, poll=quick))
        return asyncio.get_running_loop().time() - world.api.runs[run.id].ended

    assert run_virtually(main()) < 1.0


def test_each_wait_for_a_run_gets_a_copy_of_its_error() -> None:
    world = World()

    async def main() -> tuple[list[Prediction | BaseException], float]:
        bad = world.api.create(5.0)
        world.api.gone.add(bad.id)
        good = asyncio.ensure_future(world.run(5.0))
        waits = [world.wait(bad), world.wait(bad)]
        return await asyncio.gather(*waits, return_exceptions=True), await good

    errors, late = run_virtually(main())

    assert [type(error) for error in errors] == [KeyError, KeyError]
    assert errors[0] is not errors[1]
    assert late < 2.0


def test_a_run_that_vanishes_from_the_listing_is_gone() -> None:
    world = World()

    async def missing(name: str) -> Prediction:
        if name in world.api.gone:
            problem = parse(404, "application/json", b"{}")
            raise status_error(problem, operation="GET", retry_after=None)
        return await world.api.get(name)

    async def main() -> list[Prediction | BaseException]:
        waits = PredictionWaits(world.tracker, replace(world.api.source(), get=missing))
        runs = [world.api.create(20.0) for _ in range(20)]
        waiting = [
            asyncio.ensure_future(waits.wait(run.id, WaitOptions(), last=run)) for run in runs
        ]
        await asyncio.sleep(8)
        world.api.gone = world.api.unlisted = {runs[0].id, runs[1].id}
        return await asyncio.gather(*waiting, return_exceptions=True)

    found = run_virtually(main())

    assert [type(one) for one in found[:2]] == [PredictionGone, PredictionGone]
    assert all(isinstance(one, Prediction) for one in found[2:])
    assert not any(isinstance(one, NotFoundError) for one in found)


def test_a_timeout_has_the_status_that_a_page_showed() -> None:
    world = World()

    async def main() -> list[Prediction | BaseException]:
        runs = [world.api.create(60.0, queue=2.0) for _ in range(20)]
        waits = [world.wait(run, timeout=20.0) for run in runs]
        return await asyncio.gather(*waits, return_exceptions=True)

    for error in run_virtually(main()):
        assert isinstance(error, WaitTimeout)
        assert error.last is not None
        assert error.last.status == "processing"
    assert world.api.gets == []


def test_a_wait_that_is_cancelled_ends_its_polls_at_once() -> None:
    world = World(latency=1000.0)

    async def main() -> None:
        runs = [world.api.create(50.0) for _ in range(300)]
        waiting = [asyncio.ensure_future(world.wait(run)) for run in runs]
        waiting += [asyncio.ensure_future(world.wait(run.id)) for run in runs[:3]]
        await asyncio.sleep(2.0)
        assert world.api.asking > 0
        assert len(world.tracker) == 300
        for number, wait in enumerate(waiting):
            wait.cancel()
            if number % 50 == 0:
                await asyncio.sleep(0)
        await asyncio.wait(waiting)
        assert len(world.tracker) == 0
        await asyncio.sleep(0.01)
        assert world.api.asking == 0

    run_virtually(main())


def test_waits_end_as_usual_when_others_are_cancelled() -> None:
    world = World()

    async def main() -> None:
        runs = [world.api.create(10.0) for _ in range(100)]
        waiting = [asyncio.ensure_future(world.wait(run)) for run in runs]
        for at, wait in enumerate(waiting):
            await asyncio.sleep(0.05)
            if at % 2:
                wait.cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, Prediction) for one in found[::2])
        assert all(isinstance(one, asyncio.CancelledError) for one in found[1::2])

    run_virtually(main())


def test_the_waits_of_a_loop_that_ended_do_not_hinder_those_of_the_next() -> None:
    world = World()

    async def abandon() -> None:
        waiting = asyncio.ensure_future(world.wait(world.api.create(50.0)))
        await asyncio.sleep(1.0)
        waiting.cancel()

    for _ in range(2):
        run_virtually(abandon())
        assert run_virtually(world.run(5.0)) < 2.0
    assert len(world.tracker) == 0


def test_waits_share_a_bounded_number_of_pollers() -> None:
    world = World(latency=1.0)
    world.api.listing_fails = True

    async def main() -> int:
        waiting = [asyncio.ensure_future(world.run(5.0)) for _ in range(1_000)]
        most = 0
        while len(world.tracker) or not world.api.requests:
            await asyncio.sleep(0.1)
            assert len(asyncio.all_tasks()) <= len(waiting) + 1 + 256
            most = max(most, world.api.asking)
        await asyncio.gather(*waiting)
        return most

    assert run_virtually(main()) == 256


@pytest.mark.parametrize("said", ["before", "meanwhile"])
def test_a_webhook_ends_a_wait_before_the_next_poll(said: str) -> None:
    world = World()
    leisure = Poll(first=60.0, starting=60.0, processing=60.0)

    async def main() -> tuple[Prediction, float]:
        run = world.api.create(5.0)
        if said == "before":
            await asyncio.sleep(6.0)
            world.tracker.notify("prediction", await world.api.get(run.id))
            waiting = asyncio.ensure_future(world.wait(run, poll=leisure))
        else:
            waiting = asyncio.ensure_future(world.wait(run, poll=leisure))
            await asyncio.sleep(6.0)
            world.tracker.notify("prediction", await world.api.get(run.id))
        return await waiting, asyncio.get_running_loop().time()

    ended, at = run_virtually(main())

    assert ended.status == "succeeded"
    assert at < 106.5
    assert len(world.api.gets) == (2 if said == "before" else 1)


async def changes(world: World, run: Prediction) -> list[str]:
    watch = world.waits.watch(run.id, WaitOptions(), last=run)
    return [change.status async for change in watch]


@pytest.mark.parametrize("whole", [True, False])
def test_pages_show_changes_to_many_watches(whole: bool) -> None:
    world = World(whole=whole, pages=1000)

    async def main() -> list[list[str]]:
        runs = [world.api.create(5.0, queue=2.0) for _ in range(60)]
        return await asyncio.gather(*(changes(world, run) for run in runs))

    assert run_virtually(main()) == [["processing", "succeeded"]] * 60
    assert world.api.pages
    if whole:
        assert len(world.api.gets) < 30
    else:
        assert len(world.api.gets) > 60


def test_a_watch_of_a_tracked_run_shows_its_last_state_at_once() -> None:
    world = World()

    async def main() -> float:
        run = world.api.create(20.0)
        waiting = asyncio.ensure_future(world.wait(run))
        await asyncio.sleep(5.0)
        asked = len(world.api.gets)
        watch = world.waits.watch(run.id, WaitOptions(), last=run)
        begun = asyncio.get_running_loop().time()
        assert (await anext(watch)).status == "processing"
        assert len(world.api.gets) == asked
        assert asyncio.get_running_loop().time() == begun
        await waiting
        return begun

    run_virtually(main())


def test_runs_whose_listed_items_are_malformed_are_polled_alone() -> None:
    world = World(whole=True)
    broken = [b"[]", b'{"id":"r000000","status":"succeeded"', b'{"id":3,"status":"succeeded"}']
    odd = b'{"id":"r000001","status":["failed"],"input":{},"logs":"","output":null}'

    async def page(after: datetime | None, before: datetime | None) -> RawPage:
        found = await world.api.page(after, before)
        results = [msgspec.Raw(body) for body in (*broken, odd)] + found.results[:-2]
        return msgspec.structs.replace(found, results=results)

    async def main() -> list[Prediction]:
        runs = [world.api.create(5.0) for _ in range(10)]
        waits = PredictionWaits(world.tracker, replace(world.api.source(), page=page))
        return await asyncio.gather(*(waits.wait(run.id, WaitOptions(), last=run) for run in runs))

    ended = run_virtually(main())

    assert [run.status for run in ended] == ["succeeded"] * 10
    assert {"r000000", "r000001"} <= set(world.api.gets)


def test_the_number_of_reported_ends_is_bounded() -> None:
    world = World()

    async def main() -> None:
        run = world.api.create(1.0)
        world.tracker.notify("prediction", run)
        assert not world.tracker.is_tracked("prediction", run.id)
        ended = msgspec.structs.replace(run, status="succeeded")
        for at in range(10_000):
            world.tracker.notify("prediction", msgspec.structs.replace(ended, id=f"{at}"))

    run_virtually(main())


def test_waits_end_at_their_times_on_uvloop() -> None:
    pytest.importorskip("uvloop", reason="there is none for Windows")
    uvloop: Any = import_module("uvloop")
    world = World(latency=0.001)

    async def main() -> float:
        begun = asyncio.get_running_loop().time()
        runs = [world.api.create(0.1, queue=0.1) for _ in range(20)]
        assert {run.status for run in await asyncio.gather(*map(world.wait, runs))} == {"succeeded"}
        with pytest.raises(WaitTimeout):
            await world.waits.wait(
                world.api.create(60.0).id, WaitOptions(timeout=0, queue_timeout=0.2)
            )
        return asyncio.get_running_loop().time() - begun

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert 0.4 <= runner.run(main()) < HANG


def test_a_watch_that_a_stopped_loop_left_keeps_its_limit_in_the_next() -> None:
    """The first loop stops while the next change is awaited, and cancels nothing."""
    world = World()

    async def begin() -> tuple[RunUpdates[Prediction], Coroutine[Any, Any, Prediction]]:
        run = world.api.create(1000.0)
        updates = world.waits.watch(run.id, WaitOptions(timeout=60.0), last=run)
        assert (await anext(updates)).status == "processing"
        left = updates.__anext__()
        left.send(None)
        return updates, left

    async def go_on(
        updates: RunUpdates[Prediction], left: Coroutine[Any, Any, Prediction]
    ) -> float:
        await world.run(1.0)
        left.close()
        with pytest.raises(WaitTimeout):
            await anext(updates)
        return asyncio.get_running_loop().time()

    loop = VirtualLoop()
    begun = loop.run_until_complete(begin())
    loop.close()

    assert 160 < run_virtually(go_on(*begun)) < 170
    assert len(world.tracker) == 0
