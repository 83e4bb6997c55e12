from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from replicate_async.core.tasks import run_within, wait_uncancelled
from replicate_async.runs.run import cancel_after_hint

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock]


async def answer(seconds: float, result: str = "done") -> str:
    await asyncio.sleep(seconds)
    return result


async def fail(seconds: float) -> str:
    await asyncio.sleep(seconds)
    raise LookupError("broken")


async def cancelled_at(seconds: float, work: Awaitable[object]) -> asyncio.Task[object]:
    """Run *work* to its end in a task that is cancelled after *seconds*, and again later."""

    async def run() -> object:
        return await work

    task = asyncio.create_task(run())
    for _ in range(2):
        await asyncio.sleep(seconds)
        task.cancel()
    await asyncio.wait({task})
    return task


async def test_a_wait_that_is_not_cancelled_says_whether_the_future_is_done() -> None:
    quick, slow = asyncio.ensure_future(answer(1)), asyncio.ensure_future(answer(10))

    assert await wait_uncancelled(quick, seconds=2)
    assert not await wait_uncancelled(slow, seconds=2)

    assert quick.result() == "done"
    assert not slow.cancelled()
    assert await slow == "done"


async def test_a_cancel_is_raised_when_the_future_is_done() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    future = asyncio.ensure_future(answer(10))

    task = await cancelled_at(1, wait_uncancelled(future))

    assert task.cancelled()
    assert future.result() == "done"
    assert loop.time() - begun == pytest.approx(10)


async def test_a_cancel_does_not_extend_the_wait() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    future = asyncio.ensure_future(answer(10))

    task = await cancelled_at(1, wait_uncancelled(future, seconds=5))

    assert task.cancelled()
    assert not future.done()
    assert loop.time() - begun == pytest.approx(5)
    await future


async def test_each_cancel_is_reported_while_the_wait_goes_on() -> None:
    loop = asyncio.get_running_loop()
    begun, reported = loop.time(), list[float]()
    future = asyncio.ensure_future(answer(10))

    await cancelled_at(
        1, wait_uncancelled(future, on_cancel=lambda: reported.append(loop.time() - begun))
    )

    assert reported == pytest.approx([1, 2])


async def test_a_scope_of_anyio_that_is_over_does_not_end_the_wait() -> None:
    future = asyncio.ensure_future(answer(10))

    with anyio.move_on_after(1) as scope:
        await wait_uncancelled(future)
        await anyio.lowlevel.checkpoint()

    assert scope.cancelled_caught
    assert future.result() == "done"


async def test_a_time_limit_of_asyncio_is_raised_after_the_wait() -> None:
    future = asyncio.ensure_future(answer(10))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await wait_uncancelled(future)

    assert future.result() == "done"


async def test_work_within_its_time_gives_its_result_or_its_error() -> None:
    assert await run_within(2, answer(1)) == "done"
    with pytest.raises(LookupError, match="broken"):
        await run_within(2, fail(1))


async def test_work_is_cancelled_when_its_time_is_over() -> None:
    work = asyncio.ensure_future(answer(10))

    with pytest.raises(TimeoutError):
        await run_within(1, work)

    await asyncio.wait({work})
    assert work.cancelled()


@pytest.mark.parametrize("work", [answer, fail])
async def test_a_cancel_goes_before_what_the_work_comes_to(
    work: Callable[[float], Awaitable[str]],
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    begun = asyncio.get_running_loop().time()

    task = await cancelled_at(1, run_within(10, work(5)))

    assert task.cancelled()
    assert asyncio.get_running_loop().time() - begun == pytest.approx(5)
    del task
    gc.collect()
    assert complaints == []


async def test_a_program_without_anyio_has_no_scopes_and_the_same_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "anyio")
    future = asyncio.ensure_future(answer(10))

    task = await cancelled_at(1, wait_uncancelled(future))

    assert task.cancelled()
    assert future.result() == "done"
    assert cancel_after_hint() is None
    assert "anyio" not in sys.modules
