"""An event loop whose clock jumps to the next timer, so that an hour takes no time."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

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


class _SocketSelector(selectors.DefaultSelector):
    """Lets time pass once nothing arrives any more and no thread of the loop works."""

    def __init__(self, loop: VirtualSocketLoop, settle: float) -> None:
        super().__init__()
        self._loop = loop
        self._settle = settle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(self._settle)
        if not ready and not self._loop.threads_at_work:
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
        self.threads_at_work = 0
        super().__init__(_SocketSelector(self, settle))

    def elapse(self, seconds: float) -> None:
        self._now += seconds

    def time(self) -> float:
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self.threads_at_work += 1
        future.add_done_callback(self._thread_is_over)
        return future

    def _thread_is_over(self, _future: object) -> None:
        self.threads_at_work -= 1


def now() -> float:
    """Return seconds since the epoch, by the virtual clock where the running loop has one."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return time.time()
    return loop.epoch + loop.time() if isinstance(loop, VirtualSocketLoop) else time.time()
