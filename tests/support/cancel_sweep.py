"""Cancel a coroutine at each of its suspension points, and find what it leaves open."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.waiting import HANG

Scenario = Callable[[], Coroutine[Any, Any, object]]


@dataclass
class Sweep:
    """The result of a sweep: the number of points, and the failures by point."""

    points: int = 0
    faults: list[str] = field(default_factory=list[str])

    def assert_clean(self) -> None:
        assert self.points, "the scenario never suspended, so nothing was tested"
        assert not self.faults, "\n".join(self.faults)


class CancelAt:
    """Await *coroutine*, and have the task cancelled as it suspends for the *point*-th time.

    The cancel is scheduled before the future is handed on to the task, so it arrives while the
    task really waits for that future, as a cancel from another task would. Throwing CancelledError
    into the coroutine by hand would leave asyncio's own state behind.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, object], point: int) -> None:
        self._coroutine = coroutine
        self._point = point
        self.cancelled = False

    def __await__(self) -> Generator[Any, Any, object]:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        seen = 0
        error: BaseException | None = None
        while True:
            try:
                if error is None:
                    waited_for = self._coroutine.send(None)
                else:
                    waited_for = self._coroutine.throw(error)
            except StopIteration as end:
                return end.value
            seen += 1
            if seen == self._point:
                self.cancelled = True
                loop.call_soon(task.cancel)
            error = None
            try:
                yield waited_for
            except BaseException as thrown:  # noqa: BLE001 - everything is handed on to the coroutine
                error = thrown


async def cancel_sweep(
    scenario: Scenario,
    *,
    open_connections: Callable[[], int] = lambda: 0,
    limit: int = 500,
    grace: float = HANG,
) -> Sweep:
    """Run *scenario* again and again, cancelled one suspension later each time.

    The sweep is over when the scenario ends first. The scenario makes and closes all that it uses.
    After each run there must be no task, no file descriptor and no connection on the server's side
    more than before, no complaint to the loop's exception handler, and the CancelledError must
    have come out. What is left is waited for, *grace* seconds in all, before it is a fault.
    """
    start = _Held(open_connections)
    await _run(scenario, 0)  # warm up: lazy imports and caches are not leaks
    gc.collect()
    await start.left_over(grace)
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: complaints.append(str(context["message"])))
    sweep = Sweep()
    try:
        for point in range(1, limit + 1):
            before = _Held(open_connections)
            cancelled, outcome = await _run(scenario, point)
            if not cancelled:
                break
            sweep.points += 1
            found = [outcome] if outcome else []
            found += await before.left_over(grace)
            found += [f"the loop was told: {complaint}" for complaint in complaints]
            complaints.clear()
            sweep.faults += [f"cancelled at suspension {point}: {fault}" for fault in found]
        else:
            sweep.faults.append(f"the scenario did not end within {limit} suspensions")
        gc.collect()  # "was never retrieved" is said by finalizers
        await asyncio.sleep(0)
        sweep.faults += [f"after the sweep the loop was told: {text}" for text in complaints]
    finally:
        loop.set_exception_handler(handler)
    return sweep


async def _run(scenario: Scenario, point: int) -> tuple[bool, str | None]:
    interrupted = CancelAt(scenario(), point)

    async def main() -> object:
        return await interrupted

    task = asyncio.create_task(main())
    try:
        await task
    except asyncio.CancelledError:
        return True, None if interrupted.cancelled else "CancelledError came without a cancel"
    except Exception as error:
        if not interrupted.cancelled:
            raise
        return True, f"CancelledError became {error!r}"
    return interrupted.cancelled, "CancelledError was swallowed" if interrupted.cancelled else None


class _Held:
    """The open resources of one moment, to compare with a later one."""

    def __init__(self, open_connections: Callable[[], int]) -> None:
        self._open_connections = open_connections
        self._connections = open_connections()
        self._descriptors = _descriptors()
        self._tasks = asyncio.all_tasks()

    async def left_over(self, grace: float) -> list[str]:
        deadline = asyncio.get_running_loop().time() + grace
        while found := self._found():
            if asyncio.get_running_loop().time() > deadline:
                return found
            await asyncio.sleep(0.002)
        return []

    def _found(self) -> list[str]:
        # The server's own tasks go with its connections, which are counted apart.
        found = [f"task left: {task!r}" for task in asyncio.all_tasks() - self._tasks]
        extra = _descriptors() - self._descriptors
        if extra > 0:
            found.append(f"{extra} file descriptors left")
        connections = self._open_connections() - self._connections
        if connections > 0:
            found.append(f"{connections} connections left open on the server")
        return found


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
