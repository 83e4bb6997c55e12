"""An event loop whose clock jumps to the next timer, so that an hour takes no time."""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import thread as executors
from typing import Any, Final, TypeVar

T = TypeVar("T")

SETTLE: Final = 0.05
"""Seconds for which a busy kernel may hold bytes back that were sent on this machine."""


class _Selector(selectors.SelectSelector):
    """Lets time pass instead of waiting for it."""

    def __init__(self, elapse: Callable[[float], None]) -> None:
        super().__init__()
        self._elapse = elapse

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and for nothing that will come"
            self._elapse(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        super().__init__(_Selector(self._elapse))

    def _elapse(self, seconds: float) -> None:
        self.now += max(0.0, seconds)

    def time(self) -> float:
        return self.now


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* to its end on a clock of its own; nothing may be left of it."""
    complaints: list[str] = []

    def complain(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        complaints.append(str(context["message"]))

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(complain)
        result = await main
        await asyncio.sleep(0.001)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left: {left}"
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result = runner.run(watched())
    assert not complaints, complaints
    return result


def threads_work() -> bool:
    """Return whether a thread of any executor runs something, or is to run something."""
    workers = executors._threads_queues  # pyright: ignore[reportPrivateUsage]
    waiting = executors._worker.__code__  # pyright: ignore[reportPrivateUsage]
    alive = [(thread.ident, queue) for thread, queue in list(workers.items()) if thread.is_alive()]
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - it is documented
    return any(
        queue.qsize() or (ident in frames and frames[ident].f_code is not waiting)
        for ident, queue in alive
    )


class _SocketSelector(selectors.DefaultSelector):
    """Lets time pass once nothing arrives any more and no thread of an executor works."""

    def __init__(self, loop: VirtualSocketLoop, settle: float) -> None:
        super().__init__()
        self._loop = loop
        self._settle = settle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(self._settle)
        if ready or threads_work():
            return ready
        ready = super().select(0)  # what a thread did before it was done
        if not ready:
            # A little more, since a sum of floats that falls short of a timer would be no step.
            self._loop.elapse(timeout + 1e-6)
        return ready


class VirtualSocketLoop(asyncio.SelectorEventLoop):
    """A loop for tests whose sockets are all its own: time passes only while none has news.

    A timeout ends as it would on an infinitely fast machine: no matter how long the code takes, it
    ends only when every coroutine waits and the kernel holds no more bytes for any of them. Each
    step of the clock costs *settle* seconds, so it is for tests of few steps, and for those whose
    connections the kernel does not have to try again. `@pytest.mark.virtual_clock(settle=0.002)`
    is for tests of many steps in which no answer can be too late.
    """

    def __init__(self, settle: float = SETTLE) -> None:
        self._now = 100.0
        self.epoch = time.time() - self._now
        super().__init__(_SocketSelector(self, settle))

    def elapse(self, seconds: float) -> None:
        self._now += seconds

    def time(self) -> float:
        return self._now


def now() -> float:
    """Return seconds since the epoch, by the virtual clock where the running loop has one."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return time.time()
    return loop.epoch + loop.time() if isinstance(loop, VirtualSocketLoop) else time.time()
